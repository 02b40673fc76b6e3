"""Stage report: one page that shows a person what the workspace holds."""

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from stego_core.clustering.silhouette import Minimum
from stego_core.images.palette import rgb
from tasks.class_names import classes_file
from tasks.report import page, status
from tasks.report.compared_images import comparisons
from tasks.report.confusion import confusion
from tasks.report.contents import ClassShare, Report, TrainingCurves
from tasks.report.dump_pages import DumpPages, Examples
from tasks.report.example_images import most_uncertain, newest
from tasks.report.merge_groups import suggested_merges
from tasks.report.seed_figure import seed_figure
from tasks.report.timings import timings
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

VERSION_LINE = f"stego-flows {version('stego-flows')}"
LISTED = 50
"""Dumps of the table of dumps: the newest; a list beside the page has all."""
SCORED = 12
"""Dumps of the table of scores: so many of the newest, and of those with the lowest mIoU."""
CHARTED = 2
"""Dumps whose confusion is charted, chosen alike."""
COMPARED = 2
"""Dumps, the newest, whose images are shown beside those of PiCIE."""


def write(workspace: Workspace, name: str) -> str:
    """Render the report from what is finished and store it.

    Returns:
        path or URI of the page.
    """
    summary = Summary(workspace)
    document = status.document(summary)
    pages = DumpPages(summary, name, document, VERSION_LINE)
    examples = pages.write()
    lists = pages.write_lists() if len(summary.catalog) > LISTED else []
    report = contents(summary, document, examples)
    report = replace(report, pages=pages.addresses(), lists=lists)
    path = f"{layout.report(name)}/{layout.PAGE_FILE}"
    workspace.storage.write(path, page.render(report).encode())
    return workspace.storage.full(path)


def contents(
    summary: Summary, document: dict[str, Any] | None = None, examples: Examples | None = None
) -> Report:
    """Everything that the page shows: of many dumps the newest ones, the lowest scored ones and
    the most uncertain images.

    Args:
        document: of `stego status`, where it was made already.
        examples: of dumps whose images were read already.
    """
    clusters, classes = summary.whole("clusters") or {}, _class_shares(summary)
    scored = _scored(summary)
    charted = sorted({*scored[-CHARTED:], *_lowest(summary, scored)[:CHARTED]}, key=scored.index)
    return Report(
        title="A class for every pixel",
        version=VERSION_LINE,
        status=document or status.document(summary),
        classes=classes,
        merges=suggested_merges(summary, classes),
        examples=newest(summary, examples or {}),
        uncertain=most_uncertain(summary),
        curves=_curves(summary),
        inertias=clusters.get("inertias", []),
        minima=[Minimum(**minimum) for minimum in clusters.get("minima", [])],
        restart=clusters.get("best", 0),
        confusions=[matrix for dump in charted if (matrix := confusion(summary, dump))],
        compared=comparisons(summary, scored[-COMPARED:]),
        picie_start=(summary.whole("picie") or {}).get("start"),
        seed=seed_figure(summary),
        timings=timings(summary),
        listed=list(summary.catalog)[-LISTED:],
        scored=sorted({*scored[-SCORED:], *_lowest(summary, scored)[:SCORED]}, key=scored.index),
    )


def _scored(summary: Summary) -> list[str]:
    """Dumps that have scores, in order of arrival."""
    return [dump for dump in summary.catalog if summary.done("scores", dump)]


def _lowest(summary: Summary, scored: Sequence[str]) -> list[str]:
    """Scored dumps by their mIoU, the lowest first."""

    def miou(dump: str) -> float:
        figure = summary.catalog[dump].stages["scores"]["scores"].get("miou")
        return math.inf if figure is None else float(figure)

    return sorted(scored, key=miou)


def _class_shares(summary: Summary) -> list[ClassShare]:
    """Every class as people named it: colour, share of the pixels and confidence, in all dumps."""
    named = classes_file.names_for_display(summary.workspace)
    if named is None:
        return []
    sums, entries = summary.class_margins(), named.classes.entries
    classes, total = named.classes.display_table()[: len(entries)], max(int(sums.pixels.sum()), 1)
    rows = []
    for number in named.classes.kept():
        members, entry = classes == number, entries[number]
        pixels = int(sums.pixels[members].sum())
        margin = 100 * float(sums.margins[members].sum()) / pixels if pixels else None
        share = 100 * pixels / total
        rows.append(ClassShare(number, entry.name, rgb(entry.colour), share, margin))
    return rows


def _curves(summary: Summary) -> TrainingCurves | None:
    """The head's training curve; None of an imported one."""
    head = summary.whole("head")
    if head is None or "imported" in head:
        return None
    path = f"{layout.head(summary.keys['head'])}/{layout.CURVE_FILE}"
    table = tables.read_table(summary.workspace.storage, path)
    columns = {name: np.asarray(table.column(name)) for name in table.column_names}
    return TrainingCurves(columns, head["shifts"])
