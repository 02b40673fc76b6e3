"""What all sharded stages share: a plan, partitions of missing shards, one Prefect task."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from stego_core.errors import OutageError, StegoError
from tasks.compute import executor
from tasks.log import Log
from tasks.options import ComputeOptions
from tasks.progress import Progress
from tasks.steps import Step
from tasks.workspace.ledger import Folder, Record

T = TypeVar("T")
log = Log(__name__)

MAX_PARTITIONS = 200
"""Prefect task runs per stage, at most."""
PARTITION_SHARDS = 8
"""Shards of a partition unless that makes too many partitions."""
VAIN_TRIES = 2
"""Tries of a partition, after the first, that may end without a single finished shard."""


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
        counts = {"shards": self.shards, "rows": self.items, "invalid": len(manifest["invalid"])}
        log.info("stage finished", stage=self.title, **counts, seconds=round(seconds, 1))
        if manifest["invalid"]:
            first = next(iter(manifest["invalid"].values()))
            log.warning(
                "rows could not be used; the quarantine lists them",
                stage=self.title,
                invalid=counts["invalid"],
                first=first,
            )
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


_under_way: dict[str, Progress] = {}
"""Progress of the stages this process runs, by title; partitions advance it."""


@contextmanager
def progressing(stage: Stage) -> Iterator[Progress]:
    """Announce a stage's progress while its partitions run."""
    with Progress(stage.title, stage.items, stage.unit, stage.rows_recorded()) as progress:
        _under_way[stage.title] = progress
        try:
            yield progress
            progress.advance(max(stage.items - progress.done, 0))  # what an outage left uncounted
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
    """Compute one partition's missing shards; returns what was done, never data.

    Where the cluster or the object store goes away, the shards that are on record by then stay,
    and the others are tried again, as long as each try gets at least one shard further.

    Raises:
        OutageError: nothing more was achieved in several tries; names the shard where one is to
            blame.
    """
    begun, computed, rows, vain = time.perf_counter(), 0, 0, 0
    log.info("partition started", stage=title, partition=partition.number, shards=str(partition))
    while missing := partition.missing(folder):
        before = computed
        try:
            with executor(compute) as shards:
                for record in shards.map(work.steps(), missing, title):
                    computed += 1
                    rows += _counted(title, record)
        except OutageError as error:
            vain = vain + 1 if computed == before else 1
            if vain > VAIN_TRIES:
                raise
            fields = {"stage": title, "partition": partition.number, "try": vain}
            log.warning("outage, trying again", **fields, cause=str(error))
            time.sleep(vain)
    seconds = time.perf_counter() - begun
    done = {"partition": partition.number, "shards": computed, "rows": rows}
    log.info("partition finished", stage=title, **done, seconds=round(seconds, 1))
    return done


def _counted(title: str, record: Record) -> int:
    """Advance the stage's progress by a shard's rows."""
    rows = record.rows[1] - record.rows[0]
    for row, reason in record.invalid.items():
        log.debug("row invalid", stage=title, shard=record.shard, row=row, reason=reason)
    if title in _under_way:
        _under_way[title].advance(rows)
    return rows
