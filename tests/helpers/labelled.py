"""A labelled workspace made by hand: real dumps, masks that a test chose, nothing trained."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from stego_core.images.palette import palette
from stego_core.masks.margins import MarginSums
from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.engine.steps import LoopExecutor
from tasks.images import image_codecs
from tasks.masks import confidence_table
from tasks.masks.segmenter import MASKS_VERSION
from tasks.options import CorpusOptions
from tasks.workspace import layout, tables
from tasks.workspace.workspace import Workspace

NAMES = ("building", "road", "sky", "tree", "car")
MASKS_KEY, CLUSTERS_KEY = "masks-key", "clusters-key"
Masks = Mapping[str, np.ndarray]
"""(H, W) uint8 ids by image id."""


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """Ids in blocks of a few pixels, so that regions have holes, corners and edges."""
    ids = np.random.default_rng(seed).integers(0, len(NAMES), (-(-height // 3), -(-width // 3)))
    return ids.repeat(3, 0).repeat(3, 1)[:height, :width].astype(np.uint8)


def margins_of(ids: np.ndarray) -> np.ndarray:
    """Margins that differ from pixel to pixel."""
    return (np.arange(ids.size).reshape(ids.shape) * 37 % 256).astype(np.uint8)


def save_photo(path: Path, size: tuple[int, ...]) -> None:
    """Random pixels as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def workspace_at(location: str) -> Workspace:
    """A workspace with clusters of NAMES, and no dump."""
    workspace = Workspace.create(location)
    keys = {"masks": MASKS_KEY, "clusters": CLUSTERS_KEY}
    workspace.storage.write("current.json", json.dumps({"keys": keys}).encode())
    manifest = {"classes": len(NAMES), "names": list(NAMES), "options": {}}
    centroids = np.random.default_rng(0).normal(size=(len(NAMES), 4)).astype(np.float32)
    file = f"{layout.clusters(CLUSTERS_KEY)}/{layout.CENTROIDS_FILE}"
    tables.write_tensors(workspace.storage, file, {"centroids": centroids})
    workspace.folder("clusters", CLUSTERS_KEY).finish(manifest)
    return workspace


def add_dump(workspace: Workspace, dump: str, folder: Path, masks: Masks) -> None:
    """Index a folder of images as a dump, and give each image the mask of its id.

    Images without one are those that the masks stage could not use.
    """
    stage = corpus.plan(workspace, dump, CorpusOptions(images=str(folder)))
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    total = corpus.finish(workspace, stage, 0.0, 1)["images"]
    place = workspace.folder("masks", MASKS_KEY, dump)
    entries = IndexReader(workspace, dump).entries(np.arange(total))
    invalid = {}
    sums = {}
    for row, entry in enumerate(entries):
        ids = masks.get(entry["image_id"])
        if ids is None:
            invalid[row] = "cannot be read any more"
            continue
        assert ids.shape == (entry["height"], entry["width"])
        content = image_codecs.encode_mask(ids, palette(len(NAMES)))
        place.storage.write(f"{place.path}/{entry['image_id']}.png", content)
        margins = margins_of(ids)
        path = layout.margins(place.path, entry["image_id"])
        place.storage.write(path, image_codecs.encode_margins(margins))
        sums[row] = MarginSums.of(ids, margins, len(NAMES))
    total = MarginSums.total(sums.values(), len(NAMES))
    with confidence_table.PackedTable.begun() as table:
        table.add(confidence_table.packed(sums))
        table.write(place, IndexReader(workspace, dump), total)
    told = {"stage": "masks", "version": MASKS_VERSION, "invalid": invalid, "masks": len(sums)}
    place.finish({**told, **total.document()})
