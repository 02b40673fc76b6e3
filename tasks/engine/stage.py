"""What all sharded stages share: a plan, and partitions of missing shards.

Workers import this module, so it stays free of Prefect.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from tasks.engine.steps import Step
from tasks.log import Log
from tasks.workspace.ledger import Folder

T = TypeVar("T")
log = Log(__name__)

MAX_PARTITIONS = 200  # Prefect task runs per stage, at most
PARTITION_SHARDS = 8  # shards of a partition unless that makes too many partitions


class Work(Protocol):
    """A stage's work, small and picklable; workers build what it names and keep it."""

    def steps(self) -> Sequence[Step]:
        """The steps of one shard; the last one stores the data, then its record."""
        ...


class Partition(NamedTuple):
    """A run of shards: the unit of retry and what the Prefect UI shows."""

    number: int
    shards: tuple[int, ...]

    def missing(self, folder: Folder) -> list[int]:
        """Its shards that are not on record."""
        recorded = folder.recorded()
        return [shard for shard in self.shards if shard not in recorded]

    def __str__(self) -> str:
        """For the run's name."""
        return f"{self.shards[0]}-{self.shards[-1]}"


@dataclass(frozen=True)
class Stage:
    """A stage ready to be computed."""

    folder: Folder  # where its outcome goes
    title: str  # "features train"
    unit: str  # what its rows are
    items: int  # rows of all shards together
    shards: int
    work: Work
    manifest: dict[str, Any] = field(default_factory=dict)  # options, inputs, counts
    memory: int = 0  # bytes that a worker holds at once for a shard, predicted

    def partitions(self) -> list[Partition]:
        """The missing shards, cut into runs."""
        missing = self.folder.missing(self.shards)
        size = max(PARTITION_SHARDS, -(-len(missing) // MAX_PARTITIONS))
        runs = [tuple(missing[first : first + size]) for first in range(0, len(missing), size)]
        return [Partition(number, run) for number, run in enumerate(runs)]

    def rows_recorded(self) -> int:
        """Rows in shards that are on record."""
        done = self.folder.recorded()
        size = -(-self.items // max(self.shards, 1))
        return min(len(done) * size, self.items)

    def finish(self, seconds: float, computed: int, **counts: Any) -> dict[str, Any]:
        """Check that every shard is on record, then write the manifest."""
        records = self.folder.records(self.shards)
        manifest = {
            **self.manifest,
            "shards": self.shards,
            "rows": self.items,
            "invalid": {str(r): why for record in records for r, why in record.invalid.items()},
            "bytes": sum(record.bytes for record in records),
            "seconds": {
                "wall": round(seconds, 3),
                "shards_computed": computed,
                **summed(record.seconds for record in records),
            },
            **counts,
        }
        self.folder.finish(manifest)
        invalid = manifest["invalid"]
        counts = {"shards": self.shards, "rows": self.items, "invalid": len(invalid)}
        log.info("stage finished", stage=self.title, **counts, seconds=round(seconds, 1))
        if invalid:
            fields = {"invalid": len(invalid), "first": next(iter(invalid.values()))}
            text = "rows could not be used; the quarantine lists them"
            log.warning(text, stage=self.title, **fields)
        return manifest

    def finish_single(self, seconds: float, computed: int) -> dict[str, Any]:
        """Finish a stage of one shard, whose results go into the manifest."""
        (record,) = self.folder.records(self.shards)
        return self.finish(seconds, computed, **record.results)


def summed(parts: Iterator[Mapping[str, float]]) -> dict[str, float]:
    """Seconds by kind of work, added up over shards."""
    total: dict[str, float] = {}
    for part in parts:
        for kind, seconds in part.items():
            total[kind] = round(total.get(kind, 0.0) + seconds, 3)
    return total


Finish: TypeAlias = Callable[[Stage, float, int], dict[str, Any]]
"""Ends a stage, given seconds and shards computed; returns its manifest."""


class Stopwatch:
    """Seconds by kind of work."""

    def __init__(self) -> None:
        """All at zero."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Count the block's wall time under `kind`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[kind] = round(self.seconds.get(kind, 0.0) + spent, 4)

    def each(self, kind: str, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time that waiting for each of them takes counted under `kind`."""
        source = iter(items)
        while True:
            with self(kind):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item
