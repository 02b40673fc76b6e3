"""Rows that wait in temporary files of the local disk, so that memory does not grow with them."""

import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, Self, TypeVar

ROWS_AT_ONCE = 1024  # rows that are written and read together
FEW_ROWS_AT_ONCE = 64  # of each file, where many are written or read side by side
SORTED_AT_ONCE = 2**16  # rows that are sorted in memory

T = TypeVar("T")
Make = Callable[[Any], T]
"""Turns a row as JSON has it, such as a list, into what was kept."""


class Rows(Generic[T]):
    """Rows in a file, to be read as often as one likes while their spool is there."""

    def __init__(self, path: Path, count: int, make: Make[T]) -> None:
        """So many rows in a file."""
        self.path, self.count, self.make = path, count, make

    def __len__(self) -> int:
        """How many."""
        return self.count

    def __iter__(self) -> Iterator[T]:
        """In their order."""
        with self.path.open() as file:
            for line in file:
                yield from map(self.make, json.loads(line))


class Spool:
    """Files of rows in a temporary folder, which is removed at the end of a `with` block.

    Rows are what JSON can hold, names whose bytes are not UTF-8 among it.
    """

    def __init__(self) -> None:
        """Nothing is kept yet, and there is no folder."""
        self.made: TemporaryDirectory[str] | None = None
        self.numbers = itertools.count()

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the folder."""
        if self.made is not None:
            self.made.cleanup()

    @property
    def folder(self) -> Path:
        """Of the files; made where it is first needed."""
        self.made = self.made or TemporaryDirectory(prefix="stego-rows-")
        return Path(self.made.name)

    def keep(self, rows: Iterable[T], make: Make[T], merged: bool = False) -> Rows[T]:
        """Keep rows in their order; `make` turns what JSON makes of a row into a row again.

        Rows that are then `merged` with others are read a few at a time.
        """
        at_once = FEW_ROWS_AT_ONCE if merged else ROWS_AT_ONCE
        return self.split(((0, row) for row in rows), 1, make, at_once)[0]

    def split(
        self,
        rows: Iterable[tuple[int, T]],
        parts: int,
        make: Make[T],
        at_once: int | None = None,
    ) -> list[Rows[T]]:
        """Keep rows in so many parts, each in the order of `rows`, which name their part."""
        at_once = at_once or FEW_ROWS_AT_ONCE
        paths = [self.folder / f"{next(self.numbers)}.json" for _ in range(parts)]
        counts, waiting = [0] * parts, [list[T]() for _ in range(parts)]
        for path in paths:
            path.touch()
        for part, row in rows:
            waiting[part].append(row)
            if len(waiting[part]) == at_once:
                counts[part] += _append(paths[part], waiting[part])
        for part, path in enumerate(paths):
            counts[part] += _append(path, waiting[part])
        return [Rows(path, count, make) for path, count in zip(paths, counts, strict=True)]

    def sorted(self, rows: Iterable[T], make: Make[T]) -> Iterator[T]:
        """The rows in ascending order; equal ones in the order of `rows`."""
        runs = _sorted_runs(rows)
        first, second = next(runs, []), next(runs, [])
        if not second:
            yield from first
            return
        kept = [self.keep(run, make, merged=True) for run in itertools.chain((first, second), runs)]
        del first, second
        yield from heapq.merge(*kept)  # type: ignore[type-var]


def _append(path: Path, rows: list[Any]) -> int:
    """Write rows, of which then none wait; returns how many."""
    count = len(rows)
    if count:
        with path.open("a") as file:
            file.write(json.dumps(rows) + "\n")
        rows.clear()
    return count


def _sorted_runs(rows: Iterable[T]) -> Iterator[list[T]]:
    rows = iter(rows)
    while run := sorted(itertools.islice(rows, SORTED_AT_ONCE)):  # type: ignore[type-var]
        yield run
