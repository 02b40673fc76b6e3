"""The pipeline's stages without Prefect, Dask, records and leases: `overhead.py` runs this.

The stages' plans, shards and ends are the project's own; only what starts and follows them is
replaced: plan, shards in plain processes (with one worker: a loop in this process), finish.
Records are handed over in memory instead of through files. Called as
`python benchmarks/plain.py SPEC OUTCOME`, two JSON files.
"""

import importlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STAGES = ("corpus", "features", "neighbors", "head", "clusters", "masks", "scores", "report")
WORK = ("timm", *(f"tasks.{name}.stage" for name in STAGES[:-1]))
"""Modules that workers need at the latest with their first shard; both sides import them before."""
READY_SECONDS = 300

Marks = list[tuple[str, float]]
"""Name of each stage that ran, and seconds since the epoch at its end."""
RunStage = Callable[..., None]


@contextmanager
def without_prefect(run_stage: RunStage, marks: Marks | None = None) -> Iterator[None]:
    """Make the stage flows plain functions that give their shards to `run_stage`."""
    from unittest.mock import patch

    from flows.reporting import artifacts
    from flows.runs import pipeline, stages
    from tasks.workspace.workspace import Workspace

    def session(location: str, *_: Any, **__: Any) -> Any:
        return nullcontext(Workspace.create(location))

    def plain(name: str, flow: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = flow.fn(*arguments, **named)
            if marks is not None:
                marks.append((name, time.time()))
            return result

        return call

    with ExitStack() as stack:
        for name in STAGES:
            flow = getattr(stages, f"{name}_flow")
            stack.enter_context(patch.object(stages, f"{name}_flow", plain(name, flow)))
        stack.enter_context(patch.object(stages, "run_stage", run_stage))
        stack.enter_context(patch.object(pipeline, "session", session))
        for name in ("corpus_tables", "scores_table", "report_page", "run_pages"):
            stack.enter_context(patch.object(artifacts, name, lambda *_: None))
        yield


def run_on(executor: Any) -> Callable[..., None]:
    """How a stage is run without Prefect: its missing shards on the executor, then its end."""
    from tasks.engine.stage import Stage
    from tasks.engine.steps import LoopExecutor

    def run_stage(stage: Any, options: Any, finish: Any = None) -> None:
        if stage is None:
            return
        begun = time.perf_counter()
        missing = stage.folder.missing(stage.shards)
        chosen = LoopExecutor() if options.executor == "loop" else executor
        for _ in chosen.map(stage.work.steps(), missing, stage.title):
            pass
        (finish or Stage.finish)(stage, time.perf_counter() - begun, stage.shards)

    return run_stage


def worker_environment() -> dict[str, str]:
    """What Dask's workers are started with: one thread for each library."""
    from dask import config

    importlib.import_module("distributed")  # brings the setting
    chosen = config.get("distributed.nanny.pre-spawn-environ")
    return {name: str(value) for name, value in chosen.items()}


def import_work() -> None:
    """Import what shards need."""
    for name in WORK:
        importlib.import_module(name)


def prepare_worker(barrier: Any = None) -> None:
    """Import what shards need, keep records out of the folders, then wait for the others."""
    import torch

    import_work()
    from tasks.engine.worker import keep_freed_memory
    from tasks.workspace.ledger import Folder

    keep_freed_memory()

    # Records are handed over in memory, not through files: mypy refuses to replace a method.
    Folder.record = lambda self, record: None  # type: ignore[method-assign]
    if barrier is not None:
        torch.set_num_threads(1)
        barrier.wait(READY_SECONDS)


def computed(steps: Sequence[Any], shard: int) -> Any:
    """The record of one shard."""
    result = steps[0].call(shard)
    for step in steps[1:]:
        result = step.call(shard, result)
    return result


def _computed(job: tuple[Sequence[Any], int]) -> Any:
    return computed(*job)


class PlainRunner:
    """Runs stages in a pool of processes, or in this one."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.held: dict[str, list[Any]] = {}

    def run_stage(self, stage: Any, options: Any, finish: Any = None) -> None:
        from tasks.engine import machine
        from tasks.engine.stage import Stage

        if stage is None:
            return
        begun, shards, steps = time.perf_counter(), range(stage.shards), stage.work.steps()
        if self.pool is None or options.executor == "loop":
            with machine.one_thread():
                records = [computed(steps, shard) for shard in shards]
        else:
            jobs = [(steps, shard) for shard in shards]
            found = self.pool.imap_unordered(_computed, jobs)
            records = sorted(found, key=lambda record: record.shard)
        self.held[stage.folder.path] = records
        (finish or Stage.finish)(stage, time.perf_counter() - begun, stage.shards)


def main() -> None:
    begun = time.time()
    spec = json.loads(Path(sys.argv[1]).read_text())
    workers = int(spec["workers"])
    from flows.runs.pipeline import pipeline
    from flows.runs.settings import PipelineOptions
    from tasks.workspace.ledger import Folder

    imported = time.time()
    options = PipelineOptions(**spec["options"])
    pool = None
    if workers > 1:
        os.environ.update(worker_environment())
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(workers + 1)
        pool = context.Pool(workers, prepare_worker, (barrier,))
        barrier.wait(READY_SECONDS)
    prepare_worker()
    runner, marks = PlainRunner(pool), list[tuple[str, float]]()
    # What `prepare_worker` keeps out of the folders, and marked for the same reason.
    Folder.records = lambda self, shards: runner.held[self.path]  # type: ignore[method-assign]
    ready = time.time()
    with without_prefect(runner.run_stage, marks):
        pipeline.fn(workspace=spec["workspace"], options=options, dump=spec["dump"])
    if pool is not None:
        pool.close()
        pool.join()  # only processes that were waited for count in the processor time
    outcome = {"begun": begun, "imported": imported, "ready": ready, "stages": marks}
    Path(sys.argv[2]).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
