"""The connection to a Dask scheduler: connecting, waiting while it is away, workers' progress."""

import gc
import time
from dataclasses import asdict, fields
from typing import Any

from distributed import Client, get_worker

from stego_core.errors import OptionError, OutageError
from tasks.engine import progress, stop
from tasks.log import Log

log = Log(__name__)

CONNECT_SECONDS = 10  # longest wait of one attempt to connect
RETRY_SECONDS = 0.5
"""Between attempts to connect, where one fails sooner than after CONNECT_SECONDS."""
PATIENCE_SECONDS = 120  # how long a scheduler that is away, or the first worker, is waited for
AGAIN = "run the same command again: finished shards are kept"  # the end of messages about outages


def connected(address: Any, topic: str) -> Client:
    """A client that announces the progress events of a topic.

    It is of a scheduler's address, which is waited for, or of a cluster of this process.

    Raises:
        OptionError: the address has the wrong form.
        OutageError: nothing has answered there for too long.
    """
    deadline, announced = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        try:
            client = _client(address)
            client.subscribe_topic(topic, announce_event)
            return client
        except OutageError:
            if not isinstance(address, str):
                raise  # it is in this process: nobody will start it again
            if not announced:
                text = f"waiting for the Dask scheduler at {address}"
                log.warning(text, seconds=PATIENCE_SECONDS)
                announced = True
            if time.monotonic() > deadline:
                raise
        stop.check()
        time.sleep(RETRY_SECONDS)


def _client(address: Any) -> Client:
    try:
        return Client(address, timeout=CONNECT_SECONDS)
    except (ValueError, TypeError, OverflowError) as error:
        problem: Exception = OptionError(
            f"--cluster {address!r} is no address of a Dask scheduler ({error}); expected one such "
            "as tcp://host:8786, or local"
        )
    except OSError as error:
        problem = OutageError(
            f"no Dask scheduler answers at {name(address)} ({error}); start one, or use --cluster "
            f"local, and {AGAIN}"
        )
    gc.collect()  # a half-made client that is finalized later can block the start of the next one
    raise problem


def wait_for_a_worker(client: Client, address: str) -> None:
    """Return as soon as the scheduler has a worker; an OutageError if none comes for too long."""
    if not client.scheduler_info(n_workers=-1)["workers"]:
        text = f"waiting for a worker of the Dask scheduler at {address}"
        log.warning(text, seconds=PATIENCE_SECONDS)
    try:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    except TimeoutError:
        raise OutageError(
            f"the Dask scheduler at {address} has no worker, and none came within "
            f"{PATIENCE_SECONDS} s; start some with `dask worker {address}` and {AGAIN}"
        ) from None


def name(address: Any) -> str:
    """The address of a scheduler or of a cluster in this process."""
    return str(getattr(address, "scheduler_address", address))


def send_event(topic: str, event: progress.Event) -> None:
    """On a worker: send a progress event to the run that subscribed to the topic."""
    get_worker().log_event(topic, asdict(event))


def announce_event(message: tuple[Any, dict[str, Any]]) -> None:
    """In the run: announce a worker's progress event; Dask adds the time and the worker."""
    document = message[1]
    names = [field.name for field in fields(progress.Event)]
    progress.announce(progress.Event(**{name: document[name] for name in names}))
