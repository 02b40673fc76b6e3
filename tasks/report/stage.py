"""Stage report: one page that shows a person what the workspace holds."""

from importlib.metadata import version
from typing import Any

import numpy as np

from stego_core.images.palette import rgb
from tasks.class_names import classes_file
from tasks.corpus.quarantine import quarantined
from tasks.files.left_out import LeftOutCounts
from tasks.images import number_meaning
from tasks.report import page
from tasks.report.confusion import confusion
from tasks.report.contents import ClassShare, DumpCounts, Report, TrainingCurves
from tasks.report.example_images import evenly_spread, most_uncertain
from tasks.report.seed_figure import seed_figure
from tasks.report.status import SCORE_NAMES
from tasks.report.timings import timings
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

QUARANTINE_ROWS = 200
"""Quarantined images that are listed."""
BLANK_BACKBONE = {"name": page.BLANK, "layer": page.BLANK, "note": page.BLANK}


def write(workspace: Workspace, name: str) -> str:
    """Render the report from what is finished and store it.

    Returns:
        path or URI of the page.
    """
    path = f"{layout.report(name)}/{layout.PAGE_FILE}"
    workspace.storage.write(path, page.render(contents(Summary(workspace))).encode())
    return workspace.storage.full(path)


def contents(summary: Summary) -> Report:
    """Everything that the page shows."""
    clusters, dumps = summary.whole("clusters") or {}, summary.dumps
    quarantine = quarantined(summary)
    return Report(
        title="A class for every pixel",
        workspace=summary.workspace.storage.uri,
        version=f"stego-flows {version('stego-flows')}",
        backbone={**BLANK_BACKBONE, **(clusters.get("backbone") or {})},
        keys=summary.keys,
        dumps=[_counts(summary, dump) for dump in dumps],
        left_out=[
            (dump, line)
            for dump in dumps
            for line in LeftOutCounts.of(summary.workspace.corpus(dump).manifest()).lines()
        ],
        quarantine=quarantine[:QUARANTINE_ROWS],
        quarantine_total=len(quarantine),
        classes=_class_shares(summary),
        scores=[scores for dump in dumps if (scores := _scores(summary, dump))],
        examples=[example for dump in dumps for example in evenly_spread(summary, dump)],
        uncertain=most_uncertain(summary),
        curves=_curves(summary),
        inertias=clusters.get("inertias", []),
        stability=dict(clusters.get("stability", [])),
        classes_chosen=clusters.get("classes", 0),
        confusions=[matrix for dump in dumps if (matrix := confusion(summary, dump))],
        seed=seed_figure(summary),
        timings=timings(summary),
    )


def _counts(summary: Summary, dump: str) -> DumpCounts:
    """A dump's numbers."""
    corpus = summary.workspace.corpus(dump).manifest()
    names = ("images", "labelled", "quarantined", "megapixels")
    share = (summary.manifest("masks", dump) or {}).get("flicker")
    flicker = None if share is None else 100 * share
    meaning = number_meaning.remarks(corpus)
    lines = (*meaning["told"], *(f"warning: {line}" for line in meaning["warnings"]))
    counts = {name: corpus[name] for name in names}
    return DumpCounts(dump, flicker=flicker, values="; ".join(lines), **counts)


def _class_shares(summary: Summary) -> list[ClassShare]:
    """Every class as people named it: colour, share of the pixels and confidence, in all dumps."""
    named = classes_file.names_for_display(summary.workspace)
    if named is None:
        return []
    sums, entries = summary.margin_sums(), named.classes.entries
    classes, total = named.classes.display_table()[: len(entries)], max(int(sums.pixels.sum()), 1)
    rows = []
    for number in named.classes.kept():
        members, entry = classes == number, entries[number]
        pixels = int(sums.pixels[members].sum())
        margin = 100 * float(sums.margins[members].sum()) / pixels if pixels else None
        share = 100 * pixels / total
        rows.append(ClassShare(number, entry.name, rgb(entry.colour), share, margin))
    return rows


def _scores(summary: Summary, dump: str) -> dict[str, Any] | None:
    """A dump's scores in %, None if it has no labels."""
    manifest = summary.scores(dump)
    if manifest is None:
        return None
    return {"dump": dump, **{name: manifest["scores"].get(name) for name in SCORE_NAMES}}


def _curves(summary: Summary) -> TrainingCurves | None:
    """The head's training curve; None of an imported one."""
    head = summary.whole("head")
    if head is None or "imported" in head:
        return None
    path = f"{layout.head(summary.keys['head'])}/{layout.CURVE_FILE}"
    table = tables.read_table(summary.workspace.storage, path)
    columns = {name: np.asarray(table.column(name)) for name in table.column_names}
    return TrainingCurves(columns, head["shifts"])
