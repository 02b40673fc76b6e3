"""Progress of stages: announced where the work is, shown by whoever listens."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import uuid4

from tasks.engine import stop
from tasks.storage.threads import bound


@dataclass(frozen=True)
class Event:
    """How far a stage has come."""

    title: str  # the stage and its dump
    done: int
    total: int
    unit: str  # what is counted
    finished: bool = False  # whether nothing more will come
    note: str = ""  # a short live remark
    stage: str = ""  # which stage of which run it is, whatever its title: unique


Listener = Callable[[Event], None]
_listeners: list[Listener] = []
_lock = threading.Lock()
_stage: ContextVar[str] = ContextVar("stage", default="")


def within(stage: str) -> AbstractContextManager[None]:
    """Count what the block's thread does as work for this stage, wherever it is announced."""
    return bound(_stage, stage)


def current_stage() -> str:
    """The stage that this thread works for; empty where it works for none."""
    return _stage.get()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call the listener at every advance, from any thread, until the end of the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def announce(event: Event) -> None:
    """Tell everyone who listens."""
    for listener in list(_listeners):
        listener(event)


class Progress:
    """One stage's progress, safe to advance from several threads."""

    def __init__(
        self, title: str, total: int, unit: str, done: int = 0, tell: Listener = announce
    ) -> None:
        """A stage of `total` units, of which `done` were done before; default: told to everyone.

        Made while the thread works for a stage, it is that stage's progress; else one of its own.
        """
        self.stage = current_stage() or uuid4().hex
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.note, self.tell = "", tell

    def __enter__(self) -> "Progress":
        """Announce the stage."""
        self._tell()
        return self

    def __exit__(self, *_: object) -> None:
        """Announce that nothing more will come."""
        self._tell(finished=True)

    def advance(self, amount: int, note: str = "") -> None:
        """Count units as done; a StoppedError ends long work here if the run is to stop."""
        stop.check()
        with _lock:
            self.done += amount
            self.note = note or self.note
        self._tell()

    def _tell(self, finished: bool = False) -> None:
        event = Event(self.title, self.done, self.total, self.unit, finished, self.note, self.stage)
        self.tell(event)
