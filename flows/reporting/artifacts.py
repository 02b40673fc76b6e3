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
TABLE_ROWS = 5000
"""Rows of a table, at most; the page of a longer one would be slow to open."""
KEY_LENGTH, DIGITS = 80, 8
"""Of an artifact's key: letters to be read, and hexadecimal digits that tell it apart."""


def follow(place: str, stage: Progress, futures: Sequence[PrefectFuture[Any]]) -> None:
    """Wait for partitions while the progress artifact moves; raises what a partition raised.

    `place` is the URI of the workspace. Once every partition has ended, so has the bar, whatever
    was heard of it by then.
    """
    latest = Event(stage.title, stage.done, stage.total, stage.unit)

    def hear(event: Event) -> None:
        nonlocal latest
        if event.stage == stage.stage:
            latest = event

    artifact: Any = create_progress_artifact(
        _percent(latest), key("progress", place, stage.title), _described(latest)
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
    whole = replace(latest, done=stage.total, total=stage.total)
    update_progress_artifact(artifact, progress=100.0, description=_described(whole))


def _percent(event: Event) -> float:
    return round(100.0 * event.done / max(event.total, 1), 1)


def _described(event: Event) -> str:
    note = f" ({event.note})" if event.note else ""
    return f"{event.title}: {event.done} of {event.total} {event.unit} are done{note}."


def corpus_tables(workspace: Workspace, dump: str) -> None:
    """Counts of a dump, and what of it could not be indexed."""
    place, index = workspace.storage.uri, IndexReader(workspace, dump)
    names = ("images", "labelled", "quarantined", "megapixels")
    create_table_artifact(
        [{name: index.manifest[name] for name in names}],
        key("corpus", place, dump),
        f"The dump {dump} holds so many images.",
    )
    quarantine = index.quarantine()
    if quarantine:
        quarantine_table(
            quarantine,
            key("quarantine", place, dump),
            f"{len(quarantine)} files of the dump {dump} could not be used",
            workspace.storage.full(workspace.corpus(dump).path),
        )


def quarantine_table(rows: list[dict[str, Any]], name: str, sentence: str, place: str) -> None:
    """Files that could not be used and why; of very many the first, with where the others are."""
    more = len(rows) - TABLE_ROWS
    shown = rows[:TABLE_ROWS]
    if more > 0:
        sentence += f"; the first {TABLE_ROWS} are here, the other {more} are listed at {place}"
        last = dict.fromkeys(rows[0], "…")
        shown = [*shown, {**last, "reason": f"and {more} more: see {place}"}]
    create_table_artifact(shown, name, f"{sentence}.")


def pretrained_table(workspace: Workspace, outcome: dict[str, Any]) -> None:
    """How the training of a backbone ended, and where its weights are."""
    figures = {name: outcome[name] for name in ("loss", "entropy", "information", "collapsed")}
    create_table_artifact(
        [{**figures, **outcome["quality"], "weights": outcome["weights"]}],
        key("pretrain", workspace.storage.uri, outcome["backbone"]),
        f"The training of the backbone {outcome['backbone']} ended like this.",
    )


def scores_table(workspace: Workspace, dump: str, scores: str) -> None:
    """Scores of a dump's masks, the baseline and the linear probe, in percent."""
    figures = workspace.folder(layout.SCORES, scores, dump).manifest()["scores"]
    rows = [
        {"method": name, "accuracy": figures[f"{prefix}accuracy"], "mIoU": figures[f"{prefix}miou"]}
        for name, prefix in METHODS.items()
    ]
    create_table_artifact(
        rows,
        key("scores", workspace.storage.uri, dump),
        f"The masks of the dump {dump} score so many percent.",
    )


def benchmark_table(workspace: Workspace, outcome: dict[str, Any]) -> None:
    """Figures of a benchmark beside the published ones, in percent."""
    create_table_artifact(
        outcome["rows"],
        key("benchmark", workspace.storage.uri, outcome["benchmark"]),
        f"These are the figures of {outcome['benchmark']} beside the published ones, in percent. "
        f"Departures from the published protocol: {'; '.join(outcome['departures']) or 'none'}.",
    )


def report_page(workspace: Workspace, location: str) -> None:
    """What the workspace holds, in a few lines, with the way to the report; and its timings."""
    place = workspace.storage.uri
    document = status.document(Summary(workspace))
    counts = document["counts"]
    lines = [
        f"## {place}",
        "",
        f"Report: {links.sentence(workspace, location)}",
        "",
        f"{counts['masks']} masks of {counts['images']} images, "
        f"{counts['classes']} classes, {len(document['quarantine'])} quarantined.",
        "",
        *dump_rows(document, list(document["dumps"])),
    ]
    create_markdown_artifact(
        "\n".join(lines), key("report", place), "This is what the workspace holds."
    )
    create_table_artifact(
        timing_rows(workspace),
        key("timings", place),
        "Each stage took so long the last time it was computed.",
    )


def run_pages(workspace: Workspace, location: str) -> None:
    """On the run itself: what it achieved, everything that was quarantined, and the report."""
    place, run = workspace.storage.uri, run_record.current()
    document = status.document(Summary(workspace))
    found = run_record.figures(run) if run else {}
    lines = [
        f"## {place}",
        "",
        f"Report: {links.sentence(workspace, location)}",
        "",
        "| images | quarantined | labelled now | seconds | images/s |",
        "|---|---|---|---|---|",
        f"| {found.get('images', 0)} | {found.get('quarantined', 0)} "
        f"| {found.get('labelled', 0)} | {run.seconds if run else 0:.0f} "
        f"| {found.get('images_per_second', 0)} |",
        "",
        *dump_rows(document, found.get("dumps", [])),
    ]
    create_markdown_artifact(
        "\n".join(lines), key("summary", place), "This is what the run achieved."
    )
    if rows := document["quarantine"]:
        quarantine_table(
            rows,
            key("quarantine", place),
            f"{len(rows)} files of the workspace could not be used, by the stage that met them",
            f"{place}: `stego status --json --workspace {place}`",
        )
    if address := links.address(workspace, location):
        create_link_artifact(
            address.url, f"Report{address.note}", key("link", place), "The report opens here."
        )


def dump_rows(document: dict[str, Any], dumps: Sequence[str]) -> list[str]:
    """A table of dumps in Markdown: counts, scores in percent where there are labels, drift."""
    lines = [
        "| dump | images | masks | quarantined | accuracy | mIoU | drift |",
        "|---|---|---|---|---|---|---|",
    ]
    for dump in dumps:
        counts, figures = document["dumps"][dump], document["scores"].get(dump, {})
        bad = sum(row["dump"] == dump for row in document["quarantine"])
        cells = [counts["images"], counts["masks"], bad]
        cells += [figures.get("accuracy"), figures.get("miou")]
        shown = " | ".join("–" if cell is None else str(cell) for cell in cells)
        lines.append(f"| {_escaped(dump)} | {shown} | {_drift(counts['drift'])} |")
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


def _escaped(text: str) -> str:
    """A name that cannot end a cell of a Markdown table."""
    return text.replace("|", "\\|")


def key(kind: str, place: str, name: str = "") -> str:
    """A key of an artifact: what can be read of workspace and name, and a digest of both.

    Prefect takes lower-case letters, digits and dashes. Names in other scripts are transliterated;
    the digest keeps what looks alike apart.
    """
    last = place.rstrip("/").rpartition("/")[2]
    shown = slugify(f"{kind} {last} {name}", max_length=KEY_LENGTH, word_boundary=True)
    return f"{shown}-{digest(canonical([kind, place, name]))[:DIGITS]}"
