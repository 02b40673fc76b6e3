"""Images of the report with their masks: some of every dump, and the most uncertain ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.palette import coloured, overlay
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.images import image_codecs
from tasks.report.contents import ExampleImage
from tasks.workspace import layout
from tasks.workspace.summary import Summary

EXAMPLES = 12
"""Images of the newest dumps, and of each dump on its own page."""
NEWEST_DUMPS = 6
"""Dumps at most that these come from."""
UNCERTAIN = 8
"""Images to look at first, of all dumps."""
NO_CLASS = 128
"""Grey level of true classes that no class has the name of."""


def newest(summary: Summary, known: Mapping[str, list[ExampleImage]]) -> list[ExampleImage]:
    """Images of the newest dump; where it has few, also of those before it.

    Args:
        known: examples of dumps that were read already.
    """
    examples: list[ExampleImage] = []
    labelled = [dump for dump in summary.catalog if summary.done("masks", dump)]
    for dump in labelled[: -NEWEST_DUMPS - 1 : -1]:
        if len(examples) < EXAMPLES:
            own = known.get(dump) or evenly_spread(summary, dump, EXAMPLES - len(examples))
            examples += own[: EXAMPLES - len(examples)]
    return examples


def evenly_spread(summary: Summary, dump: str, most: int | None = None) -> list[ExampleImage]:
    """Images spread evenly over a dump, by default EXAMPLES of them."""
    total, most = int(summary.catalog[dump].corpus["images"]), EXAMPLES if most is None else most
    rows = np.unique(np.linspace(0, total - 1, min(most, total)).astype(np.int64))
    return _examples(summary, dump, rows.tolist())


def most_uncertain(summary: Summary) -> list[ExampleImage]:
    """The images to look at first, of all dumps, as the catalog knows them."""
    images = [
        (doubt, dump, row)
        for dump, entry in summary.catalog.items()
        for _, row, doubt in entry.stages.get("masks", {}).get("uncertain") or ()
    ]
    first = sorted(images, key=lambda image: -image[0])[:UNCERTAIN]
    return [
        replace(example, uncertainty=100 * doubt)
        for doubt, dump, row in first
        for example in _examples(summary, dump, [row])
    ]


def _examples(summary: Summary, dump: str, rows: Sequence[int]) -> list[ExampleImage]:
    """Images of a dump with mask, overlay and labels, in the colours that people gave."""
    folder, named = summary.folder("masks", dump), classes_file.names_for_display(summary.workspace)
    if folder is None or named is None:
        return []
    index = IndexReader(summary.workspace, dump)
    colours, label_colours = named.classes.colours(), _label_colours(index, named.classes)
    examples = []
    for row, entry in zip(rows, index.entries(np.asarray(rows, np.int64)), strict=True):
        image_id = entry["image_id"]
        try:
            image = index.image(entry).pixels
            ids = image_codecs.decode_mask(folder.storage.read(layout.mask(folder.path, image_id)))
            labels = index.labels(entry)
        except (ImageError, FileNotFoundError):
            continue  # it is in the quarantine table, with its reason
        mask = coloured(ids, colours)
        blended = overlay(image, mask, covered=ids != VOID_BYTE)
        true_mask = None if labels is None else coloured(labels, label_colours)
        examples.append(ExampleImage(dump, row, image_id, image, mask, blended, true_mask))
    return examples


def _label_colours(index: IndexReader, named: ClassNames) -> NDArray[np.uint8]:
    """(classes, 3) uint8 of the labels: as the class of that name, grey where there is none.

    Of a dump without labels there are no classes.
    """
    if not index.manifest["labelled"]:
        return np.zeros((0, 3), np.uint8)
    colours = {named.entries[number].name: named.colours()[number] for number in named.kept()}
    names = index.taxonomy().classes
    return np.array([colours.get(name, (NO_CLASS,) * 3) for name in names], np.uint8).reshape(-1, 3)
