"""Patch features of single images, stored or computed; the last ones stay in memory."""

from collections.abc import Hashable
from threading import Condition, Lock

import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from stego_core.images.geometry import QUARTERS
from stego_core.masks.patch_codes import Windows, image_features
from stego_core.search.patch_map import PatchMap
from tasks.corpus.index import IndexReader
from tasks.features import backbones
from tasks.features.rows import FeatureRows
from tasks.masks.segmenter import segmenter_spec
from tasks.options import MasksOptions
from tasks.storage.run_cache import current_run
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

KEPT = 24
"""Maps in memory of each kind; one of a photograph takes 3 MiB with 384 channels."""
COVERED = 0.95
"""Stored patches are displayed if they show this share of an image; else all of it is computed."""
_computing = Lock()
"""One pass through the backbone at a time: torch takes all cores for each."""


def display_map(workspace: Workspace, dump: str, row: int) -> PatchMap:
    """Features of a whole image: the stored ones if they show nearly all of it, else computed."""
    stored = stitched_map(workspace, dump, row)
    if stored is not None and stored.seen.mean() >= COVERED:
        return stored
    return computed_map(workspace, dump, row)


def fast_map(workspace: Workspace, dump: str, row: int) -> PatchMap:
    """Features of an image: the stored ones, even if they leave parts out, else computed."""
    return stitched_map(workspace, dump, row) or computed_map(workspace, dump, row)


def stitched_map(workspace: Workspace, dump: str, row: int) -> PatchMap | None:
    """The stored features of an image's crops put together; None of an image without.

    Raises:
        InputError: there is no such image.
    """
    rows = feature_rows_of(workspace, dump)
    return None if rows is None else _stitched_map(rows, row)


@cached(LRUCache(KEPT), lambda rows, row: (current_run(), rows, row), condition=Condition())
def _stitched_map(rows: FeatureRows, row: int) -> PatchMap | None:
    entry = IndexReader(rows.workspace, rows.dumps[0]).entry(row)
    number = sample_number(rows, row)
    if number is None:
        return None
    tiles = number * rows.crops() + np.arange(min(rows.crops(), QUARTERS))
    if not rows.read("valid", tiles).all():
        return None
    return PatchMap.stitched(rows.read("patches", tiles), entry["height"], entry["width"])


def feature_rows_of(workspace: Workspace, dump: str) -> FeatureRows | None:
    """The current features of one dump; None if there are none."""
    summary = Summary(workspace)
    if summary.folder("features", dump) is None:
        return None
    return FeatureRows(workspace, summary.keys["features"], (dump,))


def sample_number(rows: FeatureRows, row: int) -> int | None:
    """The number of an image among the sampled ones of a dump, None if it was not sampled."""
    sampled = rows.images(rows.dumps[0])
    number = int(np.searchsorted(sampled, row))
    return number if number < len(sampled) and sampled[number] == row else None


def valid_images(rows: FeatureRows) -> NDArray[np.int64]:
    """Index rows of the images that were sampled from a dump and could be read."""
    sampled = rows.images(rows.dumps[0])
    return sampled[rows.valid().reshape(len(sampled), -1).all(axis=1)]


def _image_key(workspace: Workspace, dump: str, row: int) -> Hashable:
    """Other clusters may come with another backbone."""
    return current_run(), workspace, Summary(workspace).require("clusters"), dump, row


@cached(LRUCache(KEPT), _image_key, condition=Condition())
def computed_map(workspace: Workspace, dump: str, row: int) -> PatchMap:
    """Features of an image, in windows of the size that stored features are taken from.

    Patch features depend on their surroundings, so those of larger windows resemble stored ones
    less. Where nothing is stored, windows are those of the masks.

    Raises:
        InputError: there is no such image.
        ImageError: the image cannot be read any more.
        WorkspaceError: there are no clusters yet.
    """
    index = IndexReader(workspace, dump)
    image = index.image(index.entry(row))
    spec, windows = _backbone_and_windows(Summary(workspace))
    with _computing:
        backbone = backbones.load_backbone(workspace.storage, spec, "auto")
        return PatchMap.whole(image_features(image.pixels, backbone, windows, image.valid))


def _backbone_and_windows(summary: Summary) -> tuple[backbones.BackboneSpec, Windows]:
    """The current backbone, and the windows in which it reads images."""
    for dump in summary.last_run.get("dumps", []):
        if manifest := summary.manifest("features", dump):
            side = int(manifest["options"]["crop_size"])
            short = 2 * side if manifest["crops"] > 1 else side
            return backbones.BackboneSpec(**manifest["backbone"]), Windows(short, side, 0)
    masks = MasksOptions(**summary.last_run.get("options", {}).get("masks", {}))
    spec = segmenter_spec(summary.workspace, summary.require("clusters"), masks)
    return spec.backbone, spec.windows()
