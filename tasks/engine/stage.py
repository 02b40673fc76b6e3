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
from tasks.workspace.ledger import Folder, Record

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

    def rows_recorded(self, missing: int) -> int:
        """Rows in shards that are on record, where so many shards are not."""
        size = -(-self.items // max(self.shards, 1))
        return min((self.shards - missing) * size, self.items)

    def records(self) -> Iterator[Record]:
        """All records, in order of their shards; raises as `Folder.records`."""
        return self.folder.records(self.shards)

    def finish(
        self, seconds: float, computed: int, sums: "RecordSums | None" = None, **counts: Any
    ) -> dict[str, Any]:
        """Check that every shard is on record, then write the manifest.

        Args:
            seconds: of the whole stage.
            computed: shards that this run computed.
            sums: of all records, where the caller has read them already.
            counts: further entries of the manifest.
        """
        sums = sums or RecordSums.of(self.records())
        manifest = {
            **self.manifest,
            "shards": self.shards,
            "rows": self.items,
            "invalid": sums.invalid,
            "bytes": sums.bytes,
            "seconds": {
                "wall": round(seconds, 3),
                "shards_computed": computed,
                **sums.seconds,
            },
            **counts,
        }
        self.folder.finish(manifest)
        counts = {"shards": self.shards, "rows": self.items, "invalid": len(sums.invalid)}
        log.info("stage finished", stage=self.title, **counts, seconds=round(seconds, 1))
        if sums.invalid:
            fields = {"invalid": len(sums.invalid), "first": next(iter(sums.invalid.values()))}
            text = "rows could not be used; the quarantine lists them"
            log.warning(text, stage=self.title, **fields)
        return manifest

    def finish_single(self, seconds: float, computed: int) -> dict[str, Any]:
        """Finish a stage of one shard, whose results go into the manifest."""
        (record,) = self.records()
        return self.finish(seconds, computed, **record.results)


@dataclass
class RecordSums:
    """What a manifest says of all records together.

    Attributes:
        invalid: why, of each row that cannot be used, by its number as text.
        seconds: by kind of work.
    """

    invalid: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> "RecordSums":
        """Of all records."""
        sums = cls()
        for _ in sums.added(records):
            pass
        return sums

    def added(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records, each added up as it passes by."""
        for record in records:
            self.invalid |= {str(row): reason for row, reason in record.invalid.items()}
            self.bytes += record.bytes
            self.seconds = summed([self.seconds, record.seconds])
            yield record


def summed(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Seconds by kind of work, added up."""
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
