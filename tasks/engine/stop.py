"""Stopping on request: work under way in this process's threads ends at its next breath."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stego_core.errors import StoppedError

_requested = threading.Event()


@contextmanager
def on_request() -> Iterator[None]:
    """Have Ctrl-C or a signal that arrives in the block also stop the threads that work for it.

    They are waited for when a flow ends, and a single shard may take hours.
    """
    _requested.clear()
    try:
        yield
    except Exception:
        raise
    except BaseException:  # KeyboardInterrupt, or what Prefect makes of SIGTERM
        _requested.set()
        raise


def check() -> None:
    """Raise StoppedError if the run is to end; called by long work now and then.

    The main thread is told by the signal itself.
    """
    if _requested.is_set() and threading.current_thread() is not threading.main_thread():
        raise StoppedError("stopped; run the same command again: finished shards are kept")
