"""What the Prefect UI shows besides runs: progress, tables and links."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.events import emit_event
from prefect.futures import PrefectFuture
from slugify import slugify

from flows.reporting import links, run_record
from tasks.corpus.index import IndexReader
from tasks.engine import progress
from tasks.engine.progress import Event, Progress
from tasks.log import Log
from tasks.report import status
from tasks.report.timings import timings
from tasks.workspace import layout
from tasks.workspace.keys import canonical, digest
from tasks.workspace.summary import METHODS, Summary
from tasks.workspace.workspace import Workspace

log = Log(__name__)

DRIFT_EVENT = "stego.drift"
REFRESH_SECONDS = 2.0
NEWEST_DUMPS = 20
"""Dumps of the page of a workspace; the report links the others."""
TABLE_ROWS = 5000
"""Rows of a table, at most; the page of a longer one would be slow to open."""
KEY_LENGTH = 80
"""Letters of an artifact's key that are there to be read."""
DIGITS = 8
"""Hexadecimal digits of an artifact's key that tell it from others."""


def follow(location: str, stage: Progress, futures: Sequence[PrefectFuture[Any]]) -> None:
    """Wait for partitions while the progress artifact moves; raises what a partition raised.

    `location` is the URI of the workspace. Once every partition has ended, so has the bar, whatever
    events arrived by then.
    """
    latest = Event(stage.title, stage.done, stage.total, stage.unit)

    def keep(event: Event) -> None:
        nonlocal latest
        if event.stage == stage.stage:
            latest = event

    artifact: Any = create_progress_artifact(
        _percent(latest), key("progress", location, stage.title), _described(latest)
    )
    with progress.listening(keep):
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
    whole = replace(latest, done=stage.total, total=stage.total)
    update_progress_artifact(artifact, progress=100.0, description=_described(whole))


def _percent(event: Event) -> float:
    return round(100.0 * event.done / max(event.total, 1), 1)


def _described(event: Event) -> str:
    note = f" ({event.note})" if event.note else ""
    return f"{event.title}: {event.done} of {event.total} {event.unit} are done{note}."


def corpus_tables(workspace: Workspace, dump: str) -> None:
    """Counts of a dump, and what of it could not be indexed."""
    location, index = workspace.storage.uri, IndexReader(workspace, dump)
    names = ("images", "labelled", "quarantined", "megapixels")
    counts = {name: index.manifest[name] for name in names}
    sentence = f"The dump {dump} holds so many images."
    create_table_artifact([counts], key("corpus", location, dump), sentence)
    if quarantine := index.quarantine():
        quarantine_table(
            quarantine,
            key("quarantine", location, dump),
            f"{len(quarantine)} files of the dump {dump} could not be used",
            workspace.storage.full(workspace.corpus(dump).path),
        )


def quarantine_table(rows: list[dict[str, Any]], name: str, sentence: str, where: str) -> None:
    """Files that could not be used and why; of very many the first, and where the others are."""
    more, first = len(rows) - TABLE_ROWS, rows[:TABLE_ROWS]
    if more > 0:
        sentence += f"; the first {TABLE_ROWS} are here, the other {more} are listed at {where}"
        last = dict.fromkeys(rows[0], "…")
        first = [*first, {**last, "reason": f"and {more} more: see {where}"}]
    create_table_artifact(first, name, f"{sentence}.")


def pretrained_table(workspace: Workspace, outcome: dict[str, Any]) -> None:
    """How the training of a backbone ended, and where its weights are."""
    figures = {name: outcome[name] for name in ("loss", "entropy", "information", "collapsed")}
    create_table_artifact(
        [{**figures, **outcome["quality"], "weights": outcome["weights"]}],
        key("pretrain", workspace.storage.uri, outcome["backbone"]),
        f"The training of the backbone {outcome['backbone']} ended like this.",
    )


def scores_table(workspace: Workspace, dump: str, scores: str) -> None:
    """Scores of a dump's masks, of baselines and the linear probe, in percent."""
    figures = workspace.folder(layout.SCORES, scores, dump).manifest()["scores"]
    rows = [
        {
            "method": name,
            "accuracy": figures.get(f"{prefix}accuracy"),
            "mIoU": figures.get(f"{prefix}miou"),
        }
        for name, prefix in METHODS.items()
    ]
    sentence = f"The masks of the dump {dump} score so many percent."
    create_table_artifact(rows, key("scores", workspace.storage.uri, dump), sentence)


def benchmark_table(workspace: Workspace, outcome: dict[str, Any]) -> None:
    """Figures of a benchmark beside the published ones, in percent."""
    create_table_artifact(
        outcome["rows"],
        key("benchmark", workspace.storage.uri, outcome["benchmark"]),
        f"These are the figures of {outcome['benchmark']} beside the published ones, in percent. "
        f"Departures from the published protocol: {'; '.join(outcome['departures']) or 'none'}.",
    )


def report_page(workspace: Workspace, report: str) -> None:
    """What the workspace holds, in a few lines, with the way to the report; and its timings."""
    location, document = workspace.storage.uri, status.document(Summary(workspace))
    counts = document["counts"]
    text = (
        f"{counts['masks']} masks of {counts['images']} images, "
        f"{counts['classes']} classes, {document['unusable']} quarantined."
    )
    page = _page(workspace, report, [text], document, list(document["dumps"])[-NEWEST_DUMPS:])
    create_markdown_artifact(page, key("report", location), "This is what the workspace holds.")
    sentence = "Each stage took so long the last time it was computed."
    create_table_artifact(timing_rows(workspace), key("timings", location), sentence)


def run_pages(workspace: Workspace, report: str) -> None:
    """On the run itself: what it achieved, everything that was quarantined, and the report."""
    location, document = workspace.storage.uri, status.document(Summary(workspace))
    run = run_record.current()
    figures = run_record.figures(run) if run else {}
    table = [
        "| images | quarantined | labelled now | seconds | images/s |",
        "|---|---|---|---|---|",
        f"| {figures.get('images', 0)} | {figures.get('quarantined', 0)} "
        f"| {figures.get('labelled', 0)} | {run.seconds if run else 0:.0f} "
        f"| {figures.get('images_per_second', 0)} |",
    ]
    page = _page(workspace, report, table, document, figures.get("dumps", []))
    create_markdown_artifact(page, key("summary", location), "This is what the run achieved.")
    if rows := document["quarantine"]:
        quarantine_table(
            rows,
            key("quarantine", location),
            f"{document['unusable']} files of the workspace could not be used, by the stage that "
            f"met them{_newest_of(rows, document)}",
            f"{location}: `stego status --quarantine --json --workspace {location}`",
        )
    if address := links.address(workspace, report):
        url, remark = address
        text = f"Report{remark}"
        create_link_artifact(url, text, key("link", location), "The report opens here.")


def _newest_of(rows: Sequence[dict[str, Any]], document: dict[str, Any]) -> str:
    """A remark where only the newest dumps' files are listed."""
    if len(rows) == document["unusable"]:
        return ""
    return "; those of the newest dumps are listed, `stego status --quarantine` lists all"


def _page(
    workspace: Workspace,
    report: str,
    lines: list[str],
    document: dict[str, Any],
    dumps: Sequence[str],
) -> str:
    """A page in Markdown: the workspace, the way to the report, some lines, a table of dumps."""
    head = [f"## {workspace.storage.uri}", "", f"Report: {links.sentence(workspace, report)}", ""]
    return "\n".join([*head, *lines, "", *dump_rows(document, dumps)])


def dump_rows(document: dict[str, Any], dumps: Sequence[str]) -> list[str]:
    """A table of dumps in Markdown: counts, scores in percent where there are labels, drift."""
    lines = [
        "| dump | images | masks | quarantined | accuracy | mIoU | drift |",
        "|---|---|---|---|---|---|---|",
    ]
    for dump in dumps:
        counts, figures = document["dumps"][dump], document["scores"].get(dump, {})
        cells = [counts["images"], counts["masks"], counts["unusable"]]
        cells += [figures.get("accuracy"), figures.get("miou")]
        cells += [counts["drift"] and ("drifted" if counts["drift"]["drifted"] else "none")]
        name = dump.replace("|", "\\|")  # it would end the cell
        texts = ("–" if cell is None else str(cell) for cell in cells)
        lines.append(f"| {' | '.join([name, *texts])} |")
    return lines


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


def emit_drift(workspace: Workspace, dump: str, drift: dict[str, Any]) -> None:
    """Send the event that a dump is unlike the training images, which may start a retraining."""
    location = workspace.storage.uri
    advice = f"stego retrain --workspace {location}"
    log.warning("dump is unlike the training images", dump=dump, advice=advice, **drift)
    emit_event(
        event=DRIFT_EVENT,
        resource={
            "prefect.resource.id": f"stego.workspace.{digest(location.encode())}",
            "prefect.resource.name": location,
        },
        payload={
            "workspace": location,
            "dump": dump,
            "drift": {"features": drift["features"], "shares": drift["shares"]},
            "threshold": drift["thresholds"],
        },
    )


def key(kind: str, location: str, name: str = "") -> str:
    """A key of an artifact: the readable part of workspace and name, and a digest of both.

    Prefect takes lower-case letters, digits and dashes. Names in other scripts are transliterated;
    the digest keeps what looks alike apart.
    """
    last = location.rstrip("/").rpartition("/")[2]
    slug = slugify(f"{kind} {last} {name}", max_length=KEY_LENGTH, word_boundary=True)
    return f"{slug}-{digest(canonical([kind, location, name]))[:DIGITS]}"
