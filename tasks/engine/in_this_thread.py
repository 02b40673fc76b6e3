"""A stage computed by the thread that asks for it, beside a server: no flow, no cluster."""

import time
from collections.abc import Callable

from tasks.engine.progress import Progress
from tasks.engine.stage import Finish, Stage
from tasks.engine.steps import LoopExecutor


def compute_here(
    stage: Stage, told: Callable[[float | None], None], finish: Finish = Stage.finish
) -> None:
    """Compute a stage's missing shards, one after another, then finish it.

    Args:
        told: is called with None before the first shard, and after each with the share of the
            stage that is done, 0 to 1; what it raises ends the stage, and what is finished is kept.
    """
    begun = time.perf_counter()
    missing = stage.folder.missing(stage.shards)
    told(None)
    done = stage.rows_recorded(len(missing))
    with Progress(stage.title, stage.items, stage.unit, done) as progress:
        for record in LoopExecutor().map(stage.work.steps(), missing, stage.title):
            progress.advance(record.rows[1] - record.rows[0])
            told(min(progress.done / max(stage.items, 1), 1.0))
    finish(stage, time.perf_counter() - begun, len(missing))
