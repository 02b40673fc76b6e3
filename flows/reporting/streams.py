"""Terminals, pipes and disks may go away at any time: nothing that is printed ends a run."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console


class Lasting:
    """A text stream that swallows what cannot be written; once broken, it leads nowhere.

    The reader of a pipe may be killed (`stego run | head`), a terminal may vanish, a disk may be
    full, an encoding may lack a character.
    """

    def __init__(self, stream: Any) -> None:
        """Write to this stream, as long as it lasts; None where there is none."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        if self.stream is None:
            return len(text)
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.write(text.encode(encoding, "replace").decode(encoding))
        except (OSError, ValueError):
            self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush if there is somewhere to flush to."""
        if self.stream is None:
            return
        try:
            self.stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def isatty(self) -> bool:
        """Whether it is a terminal, and still there."""
        with suppress(OSError, ValueError):
            return bool(self.stream is not None and self.stream.isatty())
        return False

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's, but for its bytes, which would get around this."""
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.stream, name)

    def _give_up(self) -> None:
        lead_nowhere(self.stream)
        self.stream = None


def lead_nowhere(stream: Any) -> None:
    """Let a broken stream's descriptor swallow everything: Python flushes once more as it ends."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _be_quiet(console: Console) -> None:
    """Instead of rich's own way with a broken pipe, which is to end the process."""
    console.quiet = True
    lead_nowhere(console.file)


def survive() -> None:
    """From now on no handler of a logger ends this process, whatever becomes of its stream.

    Prefect prints through rich, and a flow run's stream is a pipe to a worker that may be killed.
    """
    logging.raiseExceptions = False
    Console.on_broken_pipe = _be_quiet  # type: ignore[method-assign, assignment]


@contextmanager
def lasting() -> Iterator[None]:
    """Let nothing that is printed to stdout or stderr end the block."""
    for descriptor in range(3):  # a file opened later must not get the number of a standard stream
        _open_if_closed(descriptor)
    survive()
    before = sys.stdout, sys.stderr
    out, err = (stream if isinstance(stream, Lasting) else Lasting(stream) for stream in before)
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before


def _open_if_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
