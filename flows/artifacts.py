"""What the Prefect UI shows besides runs: progress, tables and links."""

import re
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event
from prefect.futures import PrefectFuture

from tasks import progress, status
from tasks.index import IndexReader
from tasks.log import Log
from tasks.progress import Event, Progress
from tasks.report import timings
from tasks.summary import METHODS, Summary
from tasks.workspace.keys import digest
from tasks.workspace.workspace import Workspace

log = Log(__name__)

DRIFT_EVENT = "stego.drift"
REFRESH_SECONDS = 2.0
TABLE_ROWS = 200


def follow(stage: Progress, futures: Sequence[PrefectFuture[Any]]) -> None:
    """Wait for partitions while the progress artifact moves; raises what a partition raised."""
    latest = Event(stage.title, stage.done, stage.total, stage.unit)

    def hear(event: Event) -> None:
        nonlocal latest
        if event.title == stage.title:
            latest = event

    artifact: Any = create_progress_artifact(
        _percent(latest), _key("progress", stage.title), _described(latest)
    )
    with progress.listening(hear):
        for future in futures:
            while True:
                shown = latest
                try:
                    future.result(timeout=REFRESH_SECONDS)
                    break
                except TimeoutError:
                    if latest != shown:
                        update_progress_artifact(
                            artifact, progress=_percent(latest), description=_described(latest)
                        )
    update_progress_artifact(artifact, progress=100.0, description=_described(latest))


def _percent(event: Event) -> float:
    return round(100.0 * event.done / max(event.total, 1), 1)


def _described(event: Event) -> str:
    return f"{event.title}: {event.done} of {event.total} {event.unit} {event.note}".strip()


def corpus_tables(workspace: Workspace, dump: str) -> None:
    """Counts of a dump and its quarantine."""
    index = IndexReader(workspace, dump)
    names = ("images", "labelled", "quarantined", "megapixels")
    create_table_artifact(
        [{name: index.manifest[name] for name in names}], _key("corpus", dump), f"Dump {dump}"
    )
    quarantine = index.quarantine()
    if quarantine:
        create_table_artifact(
            quarantine[:TABLE_ROWS],
            _key("quarantine", dump),
            f"{len(quarantine)} files of dump {dump} that could not be used",
        )


def pretrained_table(workspace: Workspace, outcome: dict[str, Any]) -> None:
    """How the training of a backbone ended, and where its weights are."""
    figures = {name: outcome[name] for name in ("loss", "entropy", "information", "collapsed")}
    create_table_artifact(
        [{**figures, **outcome["quality"], "weights": outcome["weights"]}],
        _key("pretrain", _place(workspace)),
        f"Backbone {outcome['backbone']}",
    )


def scores_table(workspace: Workspace, dump: str, key: str) -> None:
    """Scores of a dump's masks, the baseline and the linear probe, in percent."""
    figures = workspace.folder("scores", key, dump).manifest()["scores"]
    rows = [
        {"method": name, "accuracy": figures[f"{prefix}accuracy"], "mIoU": figures[f"{prefix}miou"]}
        for name, prefix in METHODS.items()
    ]
    create_table_artifact(rows, _key("scores", dump), f"Scores of dump {dump}, percent")


def benchmark_table(outcome: dict[str, Any]) -> None:
    """Figures of a benchmark beside the published ones, in percent."""
    create_table_artifact(
        outcome["rows"],
        _key("benchmark", outcome["benchmark"]),
        f"{outcome['benchmark']}; departures: {'; '.join(outcome['departures']) or 'none'}",
    )


def report_page(workspace: Workspace, location: str) -> None:
    """What a run achieved, in a few lines, with the link to the report; and its timings."""
    document = status.document(Summary(workspace))
    lines = [
        f"## {document['workspace']}",
        f"Report: [{location}]({_link(location)})",
        f"{document['counts']['masks']} masks of {document['counts']['images']} images, "
        f"{document['counts']['classes']} classes, {len(document['quarantine'])} quarantined.",
        "| dump | images | masks | accuracy | mIoU | drift |",
        "|---|---|---|---|---|---|",
    ]
    for dump, counts in document["dumps"].items():
        figures = document["scores"].get(dump, {})
        cells = [counts["images"], counts["masks"], figures.get("accuracy"), figures.get("miou")]
        shown = " | ".join("–" if cell is None else str(cell) for cell in cells)
        lines.append(f"| {dump} | {shown} | {_drift(counts['drift'])} |")
    text = "\n".join([*lines[:1], "", lines[1], "", lines[2], "", *lines[3:]])
    create_markdown_artifact(text, _key("report", _place(workspace)), "What the run achieved")
    create_table_artifact(
        timing_rows(workspace), _key("timings", _place(workspace)), "Timings per stage"
    )


def timing_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """Seconds and rates of every finished stage; a resumed one counts its last part."""
    rows = []
    for timing in timings(Summary(workspace)):
        seconds = max(timing.seconds, 1e-3)
        images = workspace.corpus(timing.dump).manifest()["images"] if timing.dump else None
        rows.append(
            {
                "stage": timing.stage,
                "dump": timing.dump or "all",
                "items": f"{timing.items} {timing.unit}",
                "seconds": round(timing.seconds, 1),
                "items per second": round(timing.items / seconds, 1),
                "images per second": "–" if images is None else round(images / seconds, 1),
            }
        )
    return rows


def emit_drift(workspace: Workspace, dump: str, found: dict[str, Any]) -> None:
    """Tell Prefect that a dump is unlike the training images: an automation may retrain."""
    log.warning("dump is unlike the training images", dump=dump, **found)
    emit_event(
        event=DRIFT_EVENT,
        resource={
            "prefect.resource.id": f"stego.workspace.{digest(workspace.storage.uri.encode())}",
            "prefect.resource.name": workspace.storage.uri,
        },
        payload={
            "workspace": workspace.storage.uri,
            "dump": dump,
            "drift": {"features": found["features"], "shares": found["shares"]},
            "threshold": found["thresholds"],
        },
    )


def _drift(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    return "drifted" if found["drifted"] else "none"


def _link(location: str) -> str:
    return location if "://" in location else f"file://{location}"


def _place(workspace: Workspace) -> str:
    return workspace.storage.uri.rstrip("/").rpartition("/")[2]


def _key(kind: str, name: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{kind}-{name}".lower()).strip("-")
