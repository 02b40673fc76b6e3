"""Stage prepare: cuts a split of a published data set into squares and labels, as STEGO does.

The result is a folder of PNGs that the stage corpus indexes like any other: every later stage
then sees the published pixels, and neither crops nor resizes.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import ImageError, InputError
from stego_core.paper import cropping
from stego_core.paper.cropping import Resampling
from stego_core.paper.published_protocol import Split
from tasks.corpus.listing import QUARANTINE_COLUMNS
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.images import image_codecs
from tasks.labels.taxonomies import taxonomy_document
from tasks.options import CorpusOptions
from tasks.paper.datasets import DataSet, Pair
from tasks.storage.uploads import Uploads
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.layout import PREPARED, QUARANTINE_FILE
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
SHARD_IMAGES = 32
"""Images of a shard."""
LISTING, TAXONOMY = layout.LISTING_FILE, layout.TAXONOMY_FILE
LISTING_COLUMNS = dict.fromkeys(Pair._fields, "string")
"""Columns of the list of a split."""
WORST_PIXELS = 2048 * 1024
"""Pixels of the largest images of these data sets, Cityscapes'."""


@dataclass(frozen=True)
class Cut:
    """How an image is cut into squares.

    Attributes:
        side: pixels of the squares.
        five: five half-size crops of each image, else the whole.
        resampling: of the images; labels take the nearest pixel.
    """

    side: int
    five: bool
    resampling: Resampling

    def views(
        self, pixels: NDArray[np.uint8], ids: NDArray[np.uint8]
    ) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Squares of an image (H, W, 3) and its class ids (H, W), both uint8.

        Five-crops go through a JPEG file, as the released code stores them.
        """
        windows = cropping.crop_windows(ids.shape[0], ids.shape[1], self.five)
        crops = [pixels[window.slices] for window in windows]
        if self.five:
            crops = [image_codecs.through_jpeg(crop) for crop in crops]
        return [
            (
                cropping.resized_square(crop, self.side, self.resampling),
                cropping.resized_square(ids[window.slices], self.side, "nearest"),
            )
            for crop, window in zip(crops, windows, strict=True)
        ]


@dataclass(frozen=True)
class PrepareWork(CpuWork):
    """Reads, cuts and writes the images of one shard of the listing."""

    data: DataSet
    folder: Folder
    cut: Cut
    images: int

    def shard(self, shard: int) -> Record:
        """Squares of one shard's images; one that cannot be used is listed with its reason."""
        watch = Stopwatch()
        span = arrays.shard_span(shard, SHARD_IMAGES, self.images)
        rows = np.arange(*span)
        listing = tables.read_rows(self.folder.storage, f"{self.folder.path}/{LISTING}", rows)
        invalid: dict[int, str] = {}
        written: list[str] = []
        with Uploads(self.folder.storage) as uploads:
            for row, entry in zip(rows.tolist(), listing, strict=True):
                pair = Pair(**entry)
                try:
                    with watch("read"):
                        pixels, ids = self.data.read(pair)
                    with watch("cut"):
                        views = self.cut.views(pixels, ids)
                except ImageError as error:
                    invalid[row] = str(error)
                    continue
                with watch("write"):
                    written += self._store(uploads, row, pair, views)
        checksum = keys.digest(keys.canonical(written))
        results = {"squares": len(written) // 2}
        record = Record(shard, span, 0, checksum, watch.seconds, invalid, results)
        return self.folder.record(record)

    def _store(
        self,
        uploads: Uploads,
        row: int,
        pair: Pair,
        views: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    ) -> list[str]:
        """Write squares and labels, in the order of the list; returns their digests."""
        digests = []
        for number, view in enumerate(views):
            crop = f"-{number}" if self.cut.five else ""
            name = f"{row:06d}-{PurePosixPath(pair.name).name}{crop}.png"
            for kind, array in zip(("images", "labels"), view, strict=True):
                content = image_codecs.encode_png(Image.fromarray(array))
                uploads.write(f"{self.folder.path}/{kind}/{name}", content)
                digests.append(keys.digest(content))
        return digests


def plan(
    workspace: Workspace,
    dump: str,
    data: DataSet,
    split: Split,
    cut: Cut,
    limit: int | None,
) -> Stage | None:
    """List a split and freeze the list; None if its squares are there.

    Raises:
        InputError: the data set is not there.
        WorkspaceError: the dump was begun from other files or with another cut.
    """
    folder = workspace.folder(PREPARED, dump)
    pins = {
        "benchmark": data.benchmark.name,
        "split": split,
        "data": data.storage.uri,
        "side": cut.side,
        "crops": "five" if cut.five else "whole",
        "resampling": cut.resampling,
        "limit": limit,
        "version": VERSION,
    }
    listing = f"{folder.path}/{LISTING}"
    has_listing = folder.storage.exists(listing)
    # Before the plan: a data set that is not there leaves no trace.
    pairs = [] if has_listing else data.pairs(split)[:limit]
    folder.plan(pins)
    if folder.finished:
        return None
    if not folder.storage.exists(f"{folder.path}/{TAXONOMY}"):
        taxonomy = taxonomy_document(data.benchmark.stored.with_ids())
        folder.storage.write(f"{folder.path}/{TAXONOMY}", keys.canonical(taxonomy))
    if not has_listing:
        columns = {name: [getattr(pair, name) for pair in pairs] for name in Pair._fields}
        tables.write_table(folder.storage, listing, columns, LISTING_COLUMNS)
    count = tables.row_count(folder.storage, listing)
    work = PrepareWork(data, folder, cut, count)
    shards = arrays.shard_count(count, SHARD_IMAGES)
    manifest = {"stage": "prepare", "dump": dump, **pins}
    memory = 16 * WORST_PIXELS
    return Stage(folder, f"prepare {dump}", "images", count, shards, work, manifest, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """List the images that could not be used, and write the manifest.

    Raises:
        InputError: nothing could be used.
    """
    folder, records = stage.folder, list(stage.records())
    invalid = dict(sorted(item for record in records for item in record.invalid.items()))
    rows, reasons = np.array(list(invalid), np.int64), list(invalid.values())
    entries = tables.read_rows(folder.storage, f"{folder.path}/{LISTING}", rows)
    quarantine = {"path": [entry["image"] for entry in entries], "reason": reasons}
    if len(rows) == stage.items:
        folder.clear()  # so that the same command begins anew
        raise InputError(
            f"none of the {stage.items} images of {stage.manifest['split']} can be used, the "
            f"first: {quarantine['path'][0]}: {reasons[0]}; mend the data set under "
            f"{stage.manifest['data']} and run the same command again"
        )
    tables.write_table(
        folder.storage, f"{folder.path}/{QUARANTINE_FILE}", quarantine, QUARANTINE_COLUMNS
    )
    return stage.finish(
        seconds,
        computed,
        squares=sum(record.results["squares"] for record in records),
        quarantined=len(rows),
    )


def corpus_options(workspace: Workspace, dump: str) -> CorpusOptions:
    """The squares as images that the stage corpus indexes."""
    folder = workspace.folder(PREPARED, dump).path
    images_uri, labels_uri, taxonomy = (
        workspace.storage.full(f"{folder}/{name}") for name in ("images", "labels", TAXONOMY)
    )
    return CorpusOptions(images=images_uri, labels=labels_uri, taxonomy=taxonomy)
