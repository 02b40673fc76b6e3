"""Slow work done once, whoever asks for it: for what several threads of a server want."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Once(Generic[T]):
    """Results of slow work by key: several threads that ask for one wait for the same work.

    Attributes:
        most: results that are kept, the last ones used.
    """

    most: int
    kept: "OrderedDict[Hashable, Future[T]]" = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was or is being made for the key; what `make` raises is raised and not kept."""
        with self.lock:
            future = self.kept.get(key)
            mine = future is None
            if future is None:
                future = self.kept[key] = Future()
            self.kept.move_to_end(key)
            while len(self.kept) > self.most:
                self.kept.popitem(last=False)
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                with self.lock:
                    self.kept.pop(key, None)
                future.set_exception(error)
        return future.result()
