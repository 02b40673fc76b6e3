"""Stage report: one page that shows a person what the workspace holds."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.palette import coloured, overlay
from stego_core.labels.class_names import ClassNames, rgb
from stego_core.labels.void import VOID_BYTE
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.corpus.quarantine import quarantined
from tasks.files.left_out import LeftOutCounts
from tasks.images import image_codecs, number_meaning
from tasks.masks import confidence_table
from tasks.report import page
from tasks.report.confusion import confusion
from tasks.report.seed_figure import seed_figure
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

GALLERY = 12
"""Images shown of each dump."""
DOUBTFUL = 8
"""Images shown that are to be looked at first."""
QUARANTINE_ROWS = 200
TIMED = ("features", "neighbors", "masks", "baseline_masks")
NAMED = {"baseline_masks": "masks, raw features"}
"""What a person reads instead."""


def write(workspace: Workspace, name: str) -> str:
    """Render the report from what is finished and store it.

    Returns:
        path or URI of the page.
    """
    summary = Summary(workspace)
    html = page.render(gathered(summary))
    path = f"{layout.report(name)}/{layout.PAGE_FILE}"
    workspace.storage.write(path, html.encode())
    return workspace.storage.full(path)


def gathered(summary: Summary) -> page.Report:
    """Everything that the page shows."""
    found = summary.whole("clusters") or {}
    backbone = found.get("backbone") or {}
    quarantine = quarantined(summary)
    return page.Report(
        title="A class for every pixel",
        workspace=summary.workspace.storage.uri,
        version=f"stego-flows {version('stego-flows')}",
        backbone=page.Backbone(
            backbone.get("name", "–"), str(backbone.get("layer", "–")), backbone.get("note", "–")
        ),
        keys=summary.keys,
        dumps=[counts(summary, dump) for dump in summary.dumps],
        left_out=[
            page.LeftOut(dump, line)
            for dump in summary.dumps
            for line in LeftOutCounts.of(summary.workspace.corpus(dump).manifest()).lines()
        ],
        quarantine=[
            page.Quarantined(row["dump"], row["path"], row["stage"], row["reason"])
            for row in quarantine[:QUARANTINE_ROWS]
        ],
        quarantine_total=len(quarantine),
        classes=class_shares(summary),
        scores=[score for dump in summary.dumps if (score := scores(summary, dump))],
        gallery=[item for dump in summary.dumps for item in gallery(summary, dump)],
        doubtful=least_certain(summary),
        curves=curves(summary),
        inertias=found.get("inertias", []),
        stability=dict(found.get("stability", [])),
        classes_chosen=found.get("classes", 0),
        confusions=[c for dump in summary.dumps if (c := confusion(summary, dump))],
        seed=seed_figure(summary),
        timings=timings(summary),
    )


def counts(summary: Summary, dump: str) -> page.DumpCounts:
    """A dump's numbers."""
    corpus = summary.workspace.corpus(dump).manifest()
    names = ("images", "labelled", "quarantined", "megapixels")
    share = (summary.manifest("masks", dump) or {}).get("flicker")
    flicker = None if share is None else 100 * share
    found = number_meaning.remarks(corpus)
    lines = (*found["told"], *(f"warning: {line}" for line in found["warnings"]))
    numbers = {name: corpus[name] for name in names}
    return page.DumpCounts(dump, flicker=flicker, values="; ".join(lines), **numbers)


def class_shares(summary: Summary) -> list[page.ClassShare]:
    """Every class as people named it: colour, share of the pixels and confidence, in all dumps."""
    named = classes_file.shown(summary.workspace)
    if named is None:
        return []
    sure, entries = summary.margin_sums(), named.classes.entries
    shown, total = named.classes.shown()[: len(entries)], max(int(sure.pixels.sum()), 1)
    rows = []
    for number in named.classes.kept():
        of = shown == number
        pixels = int(sure.pixels[of].sum())
        margin = 100 * float(sure.margins[of].sum()) / pixels if pixels else None
        entry = entries[number]
        share = 100 * pixels / total
        rows.append(page.ClassShare(number, entry.name, rgb(entry.colour), share, margin))
    return rows


def scores(summary: Summary, dump: str) -> page.Scores | None:
    """A dump's scores, if it has labels."""
    scored = summary.scores(dump)
    if scored is None:
        return None
    figures = {name: value for name, value in scored["scores"].items() if name != "per_class"}
    return page.Scores(dump=dump, **figures)


def gallery(summary: Summary, dump: str) -> list[page.GalleryItem]:
    """Images spread evenly over a dump."""
    total = IndexReader(summary.workspace, dump).manifest["images"]
    rows = np.unique(np.linspace(0, total - 1, min(GALLERY, total)).astype(np.int64))
    return shown_images(summary, dump, rows.tolist())


def least_certain(summary: Summary) -> list[page.GalleryItem]:
    """The images to look at first."""
    if not confidence_table.kept(summary):
        return []
    found = confidence_table.least_certain(summary, DOUBTFUL)
    items = [(item, shown_images(summary, item.dump, [item.row])) for item in found]
    return [replace(shown[0], doubt=100 * item.doubt) for item, shown in items if shown]


def shown_images(summary: Summary, dump: str, rows: Sequence[int]) -> list[page.GalleryItem]:
    """Images of a dump with mask, overlay and labels, in the colours that people gave."""
    folder, named = summary.folder("masks", dump), classes_file.shown(summary.workspace)
    if folder is None or named is None:
        return []
    index = IndexReader(summary.workspace, dump)
    colours = named.classes.colours()
    items = []
    for row, entry in zip(rows, index.entries(np.asarray(rows, np.int64)), strict=True):
        try:
            image = index.image(entry).pixels
            mask = image_codecs.decode_mask(
                folder.storage.read(f"{folder.path}/{entry['image_id']}.png")
            )
            labels = index.labels(entry)
        except (ImageError, FileNotFoundError):
            continue  # it is in the quarantine table, with its reason
        shown = coloured(mask, colours)
        drawn = None if labels is None else coloured(labels, label_colours(index, named.classes))
        blended = overlay(image, shown, covered=mask != VOID_BYTE)
        items.append(page.GalleryItem(dump, row, entry["image_id"], image, shown, blended, drawn))
    return items


def label_colours(index: IndexReader, named: ClassNames) -> NDArray[np.uint8]:
    """(classes, 3) uint8 of the labels: as the class of that name, grey where there is none."""
    names = index.taxonomy().classes
    table = np.full((len(names), 3), 128, np.uint8)
    by_name = {named.entries[number].name: number for number in named.kept()}
    for number, name in enumerate(names):
        if name in by_name:
            table[number] = named.colours()[by_name[name]]
    return table


def curves(summary: Summary) -> page.TrainingCurves | None:
    """The head's training curve; None of an imported one."""
    head = summary.whole("head")
    if head is None or "imported" in head:
        return None
    path = f"{layout.head(summary.keys['head'])}/{layout.CURVE_FILE}"
    table = tables.read_table(summary.workspace.storage, path)
    columns = {name: np.asarray(table.column(name)) for name in table.column_names}
    return page.TrainingCurves(columns, head["shifts"])


def timings(summary: Summary) -> list[page.Timing]:
    """Seconds of every finished stage."""
    rows = []
    for dump in summary.dumps:
        found = {"corpus": summary.workspace.corpus(dump).manifest()}
        found |= {s: m for s in TIMED if (m := summary.manifest(s, dump))}
        if scored := summary.scores(dump):
            found["scores"] = scored
        units = {"features": "crops", "neighbors": "crops"}
        rows += [
            timing(stage, dump, manifest, units.get(stage, "images"))
            for stage, manifest in found.items()
        ]
    for stage, unit in (("head", "steps"), ("clusters", "restarts")):
        if (manifest := summary.whole(stage)) and "imported" not in manifest:
            rows.append(timing(stage, None, manifest, unit))
    return rows


def timing(stage: str, dump: str | None, manifest: dict[str, Any], unit: str) -> page.Timing:
    """One row of the table of timings."""
    seconds = manifest["seconds"]["wall"]
    return page.Timing(
        NAMED.get(stage, stage), dump, manifest["shards"], manifest["rows"], unit, seconds
    )
