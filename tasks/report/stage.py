"""Stage report: one page that shows a person what the workspace holds."""

from importlib.metadata import version

import numpy as np

from stego_core.clustering.silhouette import Minimum
from stego_core.images.palette import rgb
from tasks.class_names import classes_file
from tasks.report import page, status
from tasks.report.confusion import confusion
from tasks.report.contents import ClassShare, Report, TrainingCurves
from tasks.report.example_images import evenly_spread, most_uncertain
from tasks.report.merge_groups import suggested_merges
from tasks.report.seed_figure import seed_figure
from tasks.report.timings import timings
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


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
    classes = _class_shares(summary)
    return Report(
        title="A class for every pixel",
        version=f"stego-flows {version('stego-flows')}",
        status=status.document(summary),
        classes=classes,
        merges=suggested_merges(summary, classes),
        examples=[example for dump in dumps for example in evenly_spread(summary, dump)],
        uncertain=most_uncertain(summary),
        curves=_curves(summary),
        inertias=clusters.get("inertias", []),
        minima=[Minimum(**minimum) for minimum in clusters.get("minima", [])],
        restart=clusters.get("best", 0),
        confusions=[matrix for dump in dumps if (matrix := confusion(summary, dump))],
        seed=seed_figure(summary),
        timings=timings(summary),
    )


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


def _curves(summary: Summary) -> TrainingCurves | None:
    """The head's training curve; None of an imported one."""
    head = summary.whole("head")
    if head is None or "imported" in head:
        return None
    path = f"{layout.head(summary.keys['head'])}/{layout.CURVE_FILE}"
    table = tables.read_table(summary.workspace.storage, path)
    columns = {name: np.asarray(table.column(name)) for name in table.column_names}
    return TrainingCurves(columns, head["shifts"])
