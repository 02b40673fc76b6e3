"""The report's suggested merges: groups of classes, with a picture of each class."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stego_core.errors import ImageError
from stego_core.labels.class_names import ClassNames
from tasks.class_names import classes_file, merge_suggestions
from tasks.corpus.index import IndexReader
from tasks.images import image_codecs
from tasks.masks import confidence_table
from tasks.report.contents import ClassShare, SuggestedGroup, SuggestedMerges
from tasks.report.data_uris import Picture
from tasks.workspace import layout
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary

SIDE = 150
"""Short side of a class's picture, pixels."""
NEWEST_DUMPS = 4
"""Dumps at most whose images are looked through."""
DIMMED = 0.22
"""Brightness of what is not of the class."""


class Place(NamedTuple):
    """An image that has more of a class than the others."""

    folder: Folder
    dump: str
    row: int


def suggested_merges(summary: Summary, shares: Sequence[ClassShare]) -> SuggestedMerges | None:
    """What could be merged; None where nothing is suggested.

    Args:
        shares: of all classes that are shown.
    """
    named = classes_file.names_for_display(summary.workspace)
    if named is None:
        return None
    suggestion = merge_suggestions.suggestion(summary, named.classes)
    joined = [group for group in suggestion.groups if group.ids]
    if not joined:
        return None
    by_id, places = {share.id: share for share in shares}, _places(summary, named.classes)
    groups = []
    for into, ids in joined:
        members = (
            (by_id[number], _picture(summary, named.classes, number, places))
            for number in (into, *ids)
        )
        groups.append(SuggestedGroup(list(members)))
    hierarchy = suggestion.hierarchy
    leaves = [by_id[number] for number in hierarchy.ids]
    return SuggestedMerges(
        groups, len(suggestion.groups), suggestion.suggested.why, leaves, hierarchy.joins
    )


def _places(summary: Summary, classes: ClassNames) -> dict[int, Place]:
    """For each class that is shown, the image of the newest dumps with the largest share of it."""
    shown = classes.display_table()
    members = {number: np.flatnonzero(shown == number).tolist() for number in classes.kept()}
    columns = [f"share_{number}" for group in members.values() for number in group]
    best: dict[int, tuple[float, Place]] = {}
    for dump, folder in confidence_table.dumps_with_confidence(summary, NEWEST_DUMPS):
        for part in confidence_table.stream_columns(folder, ["row", *columns]):
            for number, group in members.items():
                shares = np.sum([part[f"share_{member}"] for member in group], axis=0)
                at = int(np.argmax(shares))
                if shares[at] > best.get(number, (0.0,))[0]:
                    best[number] = float(shares[at]), Place(folder, dump, int(part["row"][at]))
    return {number: place for number, (_, place) in best.items()}


def _picture(
    summary: Summary, classes: ClassNames, number: int, places: Mapping[int, Place]
) -> Picture | None:
    """The class as it looks in its image, all else dimmed; None where no image can be read."""
    if number not in places:
        return None
    folder, dump, row = places[number]
    index = IndexReader(summary.workspace, dump)
    entry = index.entry(row)
    try:
        pixels = index.image(entry).pixels
        content = folder.storage.read(layout.mask(folder.path, entry["image_id"]))
    except (ImageError, FileNotFoundError):
        return None  # it is in the quarantine table, with its reason
    of_class = classes.display_table()[image_codecs.decode_mask(content)] == number
    dimmed = np.where(of_class[..., None], pixels, (DIMMED * pixels).astype(np.uint8))
    return image_codecs.shrunk(dimmed, SIDE)
