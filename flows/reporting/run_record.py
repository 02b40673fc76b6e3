"""The record of a run: what it did in how long, as one log line at its end and in the UI."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from flows.reporting import streams
from flows.reporting.exit_codes import ending
from stego_core.errors import StegoError
from tasks.engine import counters
from tasks.log import Log
from tasks.storage.storage import Storage
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

log = Log(__name__)
streams.survive()  # here, which every flow imports before it starts: its stream leads to a worker


@dataclass
class Run:
    """A run under way."""

    command: str  # or the flow, where Prefect started it
    workspace: str
    name: str = field(default_factory=lambda: uuid4().hex)
    begun: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)  # seconds of each that was computed
    dumps: list[str] = field(default_factory=list)  # that were labelled
    labelled: int = 0  # images whose masks this run computed
    report_url: str | None = None  # at which a web server shows the workspace's files
    figures: dict[str, Any] = field(default_factory=dict)  # as the function `figures` returns them

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun


_current: ContextVar[Run | None] = ContextVar("run", default=None)
_counts: ContextVar[bool] = ContextVar("counts", default=False)


def current() -> Run | None:
    """The run under way."""
    return _current.get()


def current_id() -> str:
    """The name of the run under way; empty outside of one."""
    run = _current.get()
    return run.name if run else ""


@contextmanager
def recorded(command: str, workspace: str) -> Iterator[Run]:
    """Record the block as a run; inside a run that is recorded already, it is part of that one."""
    before = _current.get()
    if before is not None:
        yield before
        return
    run = Run(command, workspace)
    token = _current.set(run)
    try:
        yield run
    except BaseException as error:
        end = ending(error)
        if end.code:
            log.error("run failed", **_fields(run), exit_code=end.code, error=end.sentence)
        counters.RUNS.labels(command, "failed" if end.code else "finished").inc()
        raise
    else:
        log.info("run finished", **_fields(run), exit_code=0)
        counters.RUNS.labels(command, "finished").inc()
    finally:
        _current.reset(token)


def stage_ended(title: str, seconds: float, rows: int) -> None:
    """A stage of the run under way computed so many rows."""
    counters.STAGE_SECONDS.labels(counters.stage(title)).observe(seconds)
    run = _current.get()
    if run is None:
        return
    run.stages[title] = round(run.stages.get(title, 0.0) + seconds, 1)
    if _counts.get():
        run.labelled += rows


@contextmanager
def labelling(dump: str) -> Iterator[None]:
    """What stages compute in the block are this dump's masks, not those of a baseline."""
    run = _current.get()
    if run is not None and dump not in run.dumps:
        run.dumps.append(dump)
    token = _counts.set(True)
    try:
        yield
    finally:
        _counts.reset(token)


def _fields(run: Run) -> dict[str, Any]:
    return {
        "command": run.command,
        "workspace": without_password(run.workspace),
        "seconds": round(run.seconds, 1),
        "stages": run.stages,
        **run.figures,
    }


def figures(run: Run) -> dict[str, Any]:
    """What the run achieved on its dumps; empty where it labelled none, or they cannot be read.

    Returns:
        images, quarantined, labelled: counts; images_per_second of the whole run; drift: whether
        a dump drifted, by dump, where that was measured; scores in percent, by dump.
    """
    if not run.dumps:
        return {}
    try:
        summary = Summary(Workspace.open(run.workspace))
        entries = [summary.catalog[dump] for dump in run.dumps]
        images = sum(entry.corpus["images"] for entry in entries)
        bad = sum(entry.quarantined for entry in entries)
        drift, scores = summary.last_run.get("drift", {}), {d: summary.scores(d) for d in run.dumps}
    except (
        StegoError,
        OSError,
        LookupError,
    ):  # the end of a run is logged whatever became of its workspace
        return {}
    return {
        "dumps": run.dumps,
        "images": images,
        "quarantined": bad,
        "labelled": run.labelled,
        "images_per_second": round(run.labelled / max(run.seconds, 1e-3), 2),
        "drift": {d: bool(drift[d]["drifted"]) for d in run.dumps if d in drift},
        "scores": {
            d: {name: manifest["scores"].get(name) for name in ("accuracy", "miou")}
            for d, manifest in scores.items()
            if manifest
        },
    }


def without_password(location: str) -> str:
    """A place as it may be written down."""
    try:
        return Storage.at(location).uri
    except StegoError:
        scheme, separator, rest = location.partition("://")
        return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"
