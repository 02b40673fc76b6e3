"""What the terminal shows: progress bars, sentences, tables of results."""

import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from flows.reporting.drift_lines import drift_lines
from tasks.engine import progress
from tasks.engine.progress import Event
from tasks.files.left_out import LeftOutCounts
from tasks.log import Log
from tasks.workspace.summary import METHODS

if TYPE_CHECKING:
    from tasks.released.importing import Imported

log = Log(__name__)
console = Console(stderr=True, highlight=False)
results = Console(highlight=False)
QUARANTINED = 20
"""Quarantined files that are listed by name."""
DUMPS = 50
"""Dumps that are listed: the newest."""
LEFT_OUT = 5
"""Images that an export leaves out that are listed by name."""
_in_records = False


@contextmanager
def speaking_in_records() -> Iterator[None]:
    """Until the end of the block, what is said to a person becomes log records instead."""
    global _in_records
    _in_records = True
    try:
        yield
    finally:
        _in_records = False


class Bars:
    """One progress bar per stage; where there is no terminal, one line when it ends."""

    def __init__(self, bars: Progress) -> None:
        """Show on these bars."""
        self.bars = bars
        self.tasks: dict[str, Any] = {}
        self.begun: dict[str, tuple[float, int]] = {}
        self.ended: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Move the stage's bar."""
        if event.stage in self.ended:
            return  # an event of a worker that came late
        if event.stage not in self.tasks:
            self.tasks[event.stage] = self.bars.add_task(event.title, total=event.total, note="")
            self.begun[event.stage] = (time.monotonic(), event.done)
        note = f"{event.unit}  {event.note}"
        self.bars.update(self.tasks[event.stage], completed=event.done, note=note)
        if event.finished:
            self._end(event)

    def _end(self, event: Event) -> None:
        self.ended.add(event.stage)
        started, before = self.begun.pop(event.stage)
        seconds = max(time.monotonic() - started, 1e-3)
        rate = (event.done - before) / seconds
        self.bars.update(self.tasks.pop(event.stage), note=f"{event.unit}  {rate:.1f}/s")
        if _in_records:
            counts = {"done": event.done, "total": event.total, "unit": event.unit}
            log.info("stage shown", stage=event.title, **counts, seconds=round(seconds, 1))
        elif not self.bars.console.is_terminal:
            text = f"{event.title}: {event.done}/{event.total} {event.unit}, {seconds:.0f} s"
            self.bars.console.print(text, markup=False)


@contextmanager
def showing_progress() -> Iterator[None]:
    """Show the progress of all stages until the end of the block."""
    bars = Progress(
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bars, progress.listening(Bars(bars)):
        yield


def fail(message: str) -> None:
    """Say what went wrong, in one sentence."""
    if _in_records:
        log.error(message)
    else:
        console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def say(message: str) -> None:
    """Say something to the person."""
    if _in_records:
        log.info(message)
    else:
        console.print(Text(message), soft_wrap=True)


def show(message: str) -> None:
    """Print what no log may hold, such as an address with a token."""
    console.print(Text(message), soft_wrap=True)


def tell(text: str) -> None:
    """Print plain text as a result, such as a JSON document."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(title: str | None, left: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table whose first columns hold texts, and whose last ones hold numbers."""
    columns = Table(title=title)
    for heading in left:
        columns.add_column(heading, overflow="fold")
    for heading in right:
        columns.add_column(heading, justify="right")
    return columns


def line(text: str, style: str = "") -> None:
    """One line of a result, as long as it is."""
    results.print(Text(text, style=style), soft_wrap=True)


def show_scores(document: dict[str, Any]) -> None:
    """The scores of every labelled dump, in percent, and their spread over seeds."""
    if document["scores"]:
        _show_figures(document["scores"])
    compared = any(row.get("picie_accuracy") is not None for row in document["scores"].values())
    if compared and (start := document["picie"]):
        line(f"PiCIE started from {start['name']}: {start['note']}")
    for dump, figures in document["spread"].items():
        _show_spread(dump, figures)


def _show_figures(scores: dict[str, dict[str, Any]]) -> None:
    title = "scores, percent (no label was used in training)"
    rows = table(title, ("dump", "method"), ("accuracy", "mIoU"))
    for dump, figures in scores.items():
        for method, prefix in METHODS.items():
            pair = (figures.get(f"{prefix}accuracy"), figures.get(f"{prefix}miou"))
            if pair[0] is not None:
                rows.add_row(Text(dump), method, *(figure(value) for value in pair))
                dump = ""
    results.print(rows)


def _show_spread(dump: str, figures: dict[str, Any]) -> None:
    """Mean and standard deviation over seeds."""
    seeds = ", ".join(map(str, figures["seeds"]))
    title = f"{dump}: scores over the seeds {seeds}, percent"
    rows = table(title, ("method",), ("accuracy", "mIoU"))
    for method, prefix in METHODS.items():
        pair = [figures.get(f"{prefix}{name}") for name in ("accuracy", "miou")]
        cells = [f"{figure(score['mean'])} ± {figure(score['std'])}" for score in pair if score]
        if cells:
            rows.add_row(method, *cells)
    results.print(rows)


def _count(value: float | None) -> str:
    """A count, or a share 0 to 1 in percent."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if isinstance(value, float) else str(value)


def figure(value: float | None) -> str:
    """A figure in percent, or a dash."""
    return "–" if value is None else f"{value:.1f}"


def show_pretrained(outcome: dict[str, Any]) -> None:
    """How a training ended, and how its backbone is used."""
    figures = outcome["quality"]
    line(
        f"loss {outcome['loss']:.3f}, teacher entropy {outcome['entropy']:.2f}, agreement "
        f"{figures['agreement']:.2f}, effective rank {figures['rank']:.1f}"
    )
    if outcome["collapsed"]:
        guide = "docs/guide/own-backbone.md"
        say(f"warning: the teacher has collapsed; its features tell nothing, see {guide}")
    line(f"use it: stego run --backbone {outcome['backbone']} --weights {outcome['weights']} ...")


def show_imported(workspace: str, model: "Imported") -> None:
    """What a published checkpoint became, and how it is used."""
    probe = f"a linear probe of {model.probed} classes" if model.probed else "no linear probe"
    line(
        f"{model.backbone.note}: {model.backbone.name}, codes of {model.code_size} numbers, "
        f"{model.classes} clusters, {probe}"
    )
    line(f"use it: stego backfill --workspace {workspace} --images ...")


def show_values(document: dict[str, Any], dumps: Collection[str] | None = None) -> None:
    """How the numbers of some dumps' files, by default of all, became colours, and what counts as
    no data.
    """
    for dump, counts in document["dumps"].items():
        if dumps is not None and dump not in dumps:
            continue
        line(f"values {dump}: {'; '.join(counts['values']['told'])}")
        for warning in counts["values"]["warnings"]:
            line(f"warning {dump}: {warning}", "yellow")


def show_drift(document: dict[str, Any], dumps: Collection[str] | None = None) -> None:
    """Whether some dumps, by default all, look like the training images."""
    for text, drifted in drift_lines(document, dumps):
        line(text, "yellow" if drifted else "")


def _newest(by_dump: dict[str, Any]) -> dict[str, Any]:
    return dict(list(by_dump.items())[-DUMPS:])


def show_status(document: dict[str, Any], every_file: bool = False) -> None:
    """A person's view of `stego status`: the newest dumps, and of quarantined files the first ones
    or every one.
    """
    line(f"workspace  {document['workspace']}")
    if backbone := document["backbone"]:
        line(f"backbone   {backbone['name']}, layer {backbone['layer']}, {backbone['note']}")
    if imported := document["imported"]:
        line(f"imported   {imported['file']}, digest {imported['digest']}")
    for trained in document["pretrained"]:
        line(f"pretrained {trained['backbone']} on {trained['dump']}: {trained['weights']}")
    stages = [f"{name} {'✓' if done else '–'}" for name, done in document["stages"].items()]
    line("stages     " + "  ".join(stages))
    dumps = document["dumps"]
    names = ["images", "labelled", "quarantined", "masks"]
    if any(counts["flicker"] is not None for counts in dumps.values()):
        names.append("flicker")
    rows = table(None, ("dump",), names)
    newest = list(dumps)[-DUMPS:]
    for dump in newest:
        rows.add_row(Text(dump), *(_count(dumps[dump][name]) for name in names))
    results.print(rows)
    if len(dumps) > DUMPS:
        line(f"… and {len(dumps) - DUMPS} older dumps; see --json or the report")
    for dump in newest:
        for remark in LeftOutCounts.of(dumps[dump]).lines():
            line(f"{dump}: {remark}")
    show_values(document, newest)
    show_drift(document, newest)
    quarantine = document["quarantine"]
    shown = quarantine if every_file else quarantine[:QUARANTINED]
    for row in shown:
        line(f"quarantined  {row['dump']}/{row['path']}: {row['reason']}")
    if document["unusable"] > len(shown):
        more = document["unusable"] - len(shown)
        line(f"… and {more} more; see `stego status --quarantine` or the report")
    show_scores({**document, "scores": _newest(document["scores"])})


def show_export(kind: str, location: str, outcome: dict[str, Any]) -> None:
    """What was written, and the first images that were left out."""
    left_out = sum(counts["skipped"] for counts in outcome["dumps"].values())
    for row in outcome["skipped"][:LEFT_OUT]:
        say(f"left out: {row['dump']}/{row['path']}: {row['reason']}")
    if left_out > LEFT_OUT:
        say(f"… and {left_out - LEFT_OUT} more; export.json names all of them")
    more = f", {left_out} left out" if left_out else ""
    line(f"{kind}: {outcome['images']} images in {location}{more}")
