"""One Prefect task per partition: computes its missing shards, whatever dies meanwhile."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from stego_core.errors import OutageError, StegoError
from tasks.engine import counters
from tasks.engine.compute import executor
from tasks.engine.progress import Progress, within
from tasks.engine.stage import Partition, Stage, Work
from tasks.log import Log
from tasks.options import ComputeOptions
from tasks.storage.threads import bound
from tasks.workspace.ledger import Folder, Record

log = Log(__name__)

VAIN_TRIES = 2
"""Tries of a partition, after the first, that may end without a single finished shard."""
_progress: ContextVar[Progress | None] = ContextVar("progress", default=None)
"""Progress of the stage that this thread works for; its partitions advance it."""


@contextmanager
def progressing(stage: Stage, partitions: Sequence[Partition]) -> Iterator[Progress]:
    """Announce a stage's progress while its partitions run."""
    done = stage.rows_recorded(sum(len(part.shards) for part in partitions))
    with (
        within(uuid4().hex),
        Progress(stage.title, stage.items, stage.unit, done) as progress,
        bound(_progress, progress),
    ):
        yield progress
        progress.advance(max(stage.items - progress.done, 0))  # an outage leaves some uncounted


def may_help(task: Any, run: Any, state: Any) -> bool:
    """Whether trying again may help: not where the user has to change something."""
    try:
        state.result()
    except StegoError:
        return False
    except Exception:  # anything else may be transient
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
    missing = set(partition.shards)  # as the stage has just listed them
    tried = (task_run.run_count or 0) > 1
    log.info("partition started", stage=title, partition=partition.number, shards=str(partition))
    while missing := missing - (folder.recorded() if tried else set()):
        before, tried = computed, True
        try:
            with executor(compute) as shards:
                for record in shards.map(work.steps(), sorted(missing), title):
                    missing.discard(record.shard)
                    computed += 1
                    rows += _counted(title, record)
            break
        except OutageError as error:
            vain = vain + 1 if computed == before else 1
            if vain > VAIN_TRIES:
                raise
            fields = {"stage": title, "partition": partition.number, "try": vain}
            counters.OUTAGES.labels("cluster or storage").inc()
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
    counters.counted(title, rows, len(record.invalid))
    if progress := _progress.get():
        progress.advance(rows)
    return rows
