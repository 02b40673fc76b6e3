"""Patch features of single images: the stored ones, else computed; the last ones stay in memory."""

from threading import Condition, Lock

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from stego_core.masks.segmenter import Windows, image_features
from stego_core.search.patch_map import QUARTERS, PatchMap
from tasks.corpus.index import IndexReader
from tasks.features import backbones
from tasks.features.rows import FeatureRows
from tasks.masks.segmenter import segmenter_spec
from tasks.options import MasksOptions
from tasks.storage.run_cache import current_run, remembered
from tasks.workspace import arrays
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

KEPT = 24
"""Maps in memory of each kind; one of a photograph takes 3 MiB with 384 channels."""
COVERED = 0.95
"""Stored patches stand for an image if they show so much of it; else all of it is computed."""
_computing = Lock()
"""One pass through the backbone at a time: torch takes all cores for each."""


def shown(workspace: Workspace, dump: str, row: int) -> PatchMap:
    """Features of a whole image: the stored ones if they show nearly all of it, else computed."""
    found = stored(workspace, dump, row)
    if found is not None and found.seen.mean() >= COVERED:
        return found
    return computed(workspace, dump, row)


def quick(workspace: Workspace, dump: str, row: int) -> PatchMap:
    """Features of an image: the stored ones, whatever they leave out, else computed."""
    return stored(workspace, dump, row) or computed(workspace, dump, row)


def stored(workspace: Workspace, dump: str, row: int) -> PatchMap | None:
    """The crops' features put together; None of an image without.

    Raises:
        InputError: there is no such image.
    """
    rows = feature_rows_of(workspace, dump)
    return None if rows is None else _stitched(rows, row)


@cached(LRUCache(KEPT), lambda rows, row: (current_run(), rows, row), condition=Condition())
def _stitched(rows: FeatureRows, row: int) -> PatchMap | None:
    (dump,) = rows.dumps
    entry = IndexReader(rows.workspace, dump).entry(row)
    number = drawn_place(rows, row)
    if number is None:
        return None
    crops = int(rows.manifest(dump)["crops"])
    span = number * crops + np.arange(min(crops, QUARTERS))
    if not rows.read("valid", span).all():
        return None
    features = rows.read("patches", span)
    return PatchMap.stitched(features, int(entry["height"]), int(entry["width"]))


def feature_rows_of(workspace: Workspace, dump: str) -> FeatureRows | None:
    """The current features of one dump; None if there are none."""
    summary = Summary(workspace)
    if summary.folder("features", dump) is None:
        return None
    return FeatureRows(workspace, summary.keys["features"], (dump,))


def drawn_place(rows: FeatureRows, row: int) -> int | None:
    """The place of an image among those that a dump's features were taken from, None if not."""
    drawn = drawn_images(rows)
    place = int(np.searchsorted(drawn, row))
    return place if place < len(drawn) and drawn[place] == row else None


@remembered(16)
def drawn_images(rows: FeatureRows) -> NDArray[np.int64]:
    """(n,) rows in a dump's index of the images that features were taken from, rising."""
    (dump,) = rows.dumps
    return arrays.read_rows(rows.workspace.storage, rows.path(dump), "images", slice(None))


def usable_images(rows: FeatureRows) -> NDArray[np.int64]:
    """Those of a dump's `drawn_images` that could be read."""
    valid = rows.valid().reshape(len(drawn_images(rows)), -1)
    return drawn_images(rows)[valid.all(axis=1)]


def computed(workspace: Workspace, dump: str, row: int) -> PatchMap:
    """Features of an image, in windows of the size that stored features are taken from.

    Patches know their place and their surroundings, so those of larger windows resemble stored ones
    less than each other. Where nothing is stored, windows are those of the masks.

    Raises:
        InputError: there is no such image.
        ImageError: the image cannot be read any more.
        WorkspaceError: there are no clusters yet.
    """
    return _embedded(workspace, Summary(workspace).require("clusters"), dump, row)


@cached(LRUCache(KEPT), lambda *image: (current_run(), *image), condition=Condition())
def _embedded(workspace: Workspace, clusters: str, dump: str, row: int) -> PatchMap:
    """`clusters` is there for the cache: other ones may come with another backbone."""
    index = IndexReader(workspace, dump)
    image = index.image(index.entry(row))
    spec, view = _read_as(Summary(workspace))
    with _computing:
        backbone = backbones.load_backbone(workspace.storage, spec, "auto")
        return PatchMap.whole(image_features(image.pixels, backbone, view, image.valid))


def _read_as(summary: Summary) -> tuple[backbones.BackboneSpec, Windows]:
    """The backbone, and how images are looked at."""
    options = summary.last_run.get("options", {})
    for dump in summary.last_run.get("dumps", []):
        if made := summary.manifest("features", dump):
            side = int(made["options"]["crop_size"])
            short = 2 * side if made["crops"] > 1 else side
            return backbones.BackboneSpec(**made["backbone"]), Windows(short, side, 0)
    masks = MasksOptions(**options.get("masks", {}))
    spec = segmenter_spec(summary.workspace, summary.require("clusters"), masks)
    return spec.backbone, spec.view()
