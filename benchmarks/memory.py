"""The most memory that a process, and all those it started, hold while something is done."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

LOOK_SECONDS = 0.02
CHILDREN_SECONDS = 0.5
"""Between looks for new children: each reads about every process of the machine."""


@dataclass
class Peak:
    """Resident bytes, the most that were seen; pages that processes share count for each.

    Attributes:
        first: process and children at the beginning.
        own: the process alone.
        total: process and children together.
    """

    first: int = 0
    own: int = 0
    total: int = 0

    @property
    def beyond(self) -> int:
        """What process and children came to hold beyond what they held at the beginning."""
        return max(self.total - self.first, 0)


@contextmanager
def watched(pid: int | None = None) -> Iterator[Peak]:
    """The peak of a process, by default this one, until the end of the block."""
    process, ended = psutil.Process(pid), threading.Event()
    children = _children(process)
    first = sum(map(_resident, [process, *children]))
    peak = Peak(first, total=first)

    def look() -> None:
        known, looked = children, time.monotonic()
        while not ended.wait(LOOK_SECONDS):
            if time.monotonic() - looked > CHILDREN_SECONDS:
                known, looked = _children(process), time.monotonic()
            own = _resident(process)
            peak.own = max(peak.own, own)
            peak.total = max(peak.total, own + sum(map(_resident, known)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it ended a moment ago
        return 0
