"""What all sharded stages share: a plan, partitions of missing shards, one Prefect task."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

from stego_core.errors import StegoError
from tasks.compute import Step, executor
from tasks.options import ComputeOptions
from tasks.progress import Progress
from tasks.workspace.ledger import Folder

logger = logging.getLogger(__name__)

MAX_PARTITIONS = 200
"""Prefect task runs per stage, at most."""
PARTITION_SHARDS = 8
"""Shards of a partition unless that makes too many partitions."""


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
    """A stage ready to be computed.

    Attributes:
        folder: where its outcome goes.
        title: "features train".
        unit: what its rows are.
        items: rows of all shards together.
        shards: number of shards.
        work: what workers do.
        manifest: options, inputs and counts that the finished folder will carry.
        memory: bytes that a worker holds at once for a shard, predicted.
    """

    folder: Folder
    title: str
    unit: str
    items: int
    shards: int
    work: Work
    manifest: dict[str, Any] = field(default_factory=dict)
    memory: int = 0

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
        return manifest


def summed(parts: Iterator[Mapping[str, float]]) -> dict[str, float]:
    """Seconds by kind of work, added up over shards."""
    total: dict[str, float] = {}
    for part in parts:
        for kind, seconds in part.items():
            total[kind] = round(total.get(kind, 0.0) + seconds, 3)
    return total


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


_under_way: dict[str, Progress] = {}
"""Progress of the stages this process runs, by title; partitions advance it."""


@contextmanager
def progressing(stage: Stage) -> Iterator[Progress]:
    """Announce a stage's progress while its partitions run."""
    with Progress(stage.title, stage.items, stage.unit, stage.rows_recorded()) as progress:
        _under_way[stage.title] = progress
        try:
            yield progress
        finally:
            del _under_way[stage.title]


def may_help(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again may help: not where the user has to mend something."""
    try:
        state.result()
    except StegoError:
        return False
    except Exception:  # anything else may be the weather
        return True
    return False


@task(
    name="partition",
    task_run_name="{title} {partition}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=may_help,
)
def compute_partition(
    title: str, work: Work, folder: Folder, partition: Partition, compute: ComputeOptions
) -> dict[str, Any]:
    """Compute one partition's missing shards; returns what was done, never data."""
    progress = _under_way.get(title)
    recorded = folder.recorded()
    missing = [shard for shard in partition.shards if shard not in recorded]
    rows = 0
    with executor(compute) as shards:
        for record in shards.map(work.steps(), missing):
            count = record.rows[1] - record.rows[0]
            rows += count
            for row, reason in record.invalid.items():
                logger.warning("%s row %d: %s", title, row, reason)
            if progress:
                progress.advance(count)
    return {"partition": partition.number, "shards": len(missing), "rows": rows}
