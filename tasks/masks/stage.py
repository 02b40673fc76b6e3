"""Stage masks: a class for every pixel of every image, one palette PNG each, how sure, overlays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.palette import coloured, overlay, palette
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.margins import MarginSums
from stego_core.masks.segmenter import Refined, refined
from stego_core.video.flicker import ClassChanges
from stego_core.video.smoothing import Frame, smoothed
from tasks.corpus.index import Entry, IndexReader
from tasks.engine.stage import RecordSums, Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.head import heads
from tasks.images import image_codecs as images
from tasks.masks import confidence_table
from tasks.masks.mask_source import MaskSource
from tasks.masks.segmenter import MASKS_VERSION, tell_if_slow
from tasks.masks.shard_codes import ShardCodes, image_codes
from tasks.masks.taught_segmenter import mask_source
from tasks.options import MasksOptions
from tasks.storage.uploads import Uploads
from tasks.video import frame_order
from tasks.video.flicker import FlickerCounter
from tasks.workspace import arrays, keys, layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

SHARD_IMAGES = 8
"""Images of a shard."""
SMOOTHED_IMAGES = 32
"""Images of a shard where codes are averaged over neighbours: those outside are computed twice."""


@dataclass(frozen=True)
class MasksWork:
    """Labels one shard of images: codes on a GPU where there is one, then the CRF on a CPU."""

    index: IndexReader
    spec: MaskSource
    path: str
    baseline: bool
    overlays: bool
    device: str

    def steps(self) -> Sequence[Step]:
        """Codes, then refinement."""
        return [Step(self.codes, gpu=True), Step(self.refine)]

    def rows(self, shard: int) -> tuple[int, int]:
        """First and past-the-last row of a shard."""
        total, size = self.index.manifest["images"], shard_images(self.spec.options)
        return arrays.shard_span(shard, size, total)

    def _entries(self, shard: int) -> dict[int, Entry]:
        """Index entries, by row, of the shard's images that get a mask."""
        rows = np.arange(*self.rows(shard), dtype=np.int64)
        entries = zip(rows.tolist(), self.index.entries(rows), strict=True)
        return {row: entry for row, entry in entries if entry["label_digest"] or not self.baseline}

    def codes(self, shard: int) -> ShardCodes:
        """Codes of every readable image of the shard, averaged with those of its neighbours."""
        watch, result = Stopwatch(), ShardCodes()
        neighbours = {row: self._neighbours(row) for row in self._entries(shard)}
        rows = np.unique([*neighbours, *chain(*neighbours.values())]).astype(np.int64)
        frames: dict[int, Frame] = {}
        entries = self.index.entries(rows)
        images = image_codes(self.index, entries, self.spec, self.device, watch)
        for row, image in zip(rows.tolist(), images, strict=True):
            if not isinstance(image, ImageError):
                frames[row] = Frame.of(image[1], image[0].pixels)
            elif row in neighbours:
                result.invalid[row] = str(image)
        for row, others in neighbours.items():
            if row in frames:
                beside = [frames[other] for other in others if other in frames]
                result.codes[row] = smoothed(frames[row], beside)
        result.seconds = watch.seconds
        return result

    def _neighbours(self, row: int) -> list[int]:
        """Rows of the neighbouring frames that an image's codes are averaged with."""
        reach = self.spec.options.smooth_frames
        return frame_order.links(self.index).around(row, reach) if reach else []

    def refine(self, shard: int, shard_codes: ShardCodes) -> Record:
        """Write masks of the shard's images, then the record."""
        watch, entries = Stopwatch(), self._entries(shard)
        score, crf, windows = self.spec.scorer(), self.spec.crf(), self.spec.windows()
        classes, colours = self.spec.classes, palette(self.spec.classes)
        rows: dict[int, MarginSums] = {}
        flicker = FlickerCounter(self.index, [] if self.baseline else list(entries))
        digests: list[str] = []
        size = 0
        images = self.index.images(entries[row] for row in shard_codes.codes)
        pairs = zip(shard_codes.codes.items(), watch.each("read", images), strict=True)
        with Uploads(self.spec.storage) as uploads:
            for (row, codes), (_, image) in pairs:
                if isinstance(image, ImageError):
                    raise image  # it was readable a moment ago: a transient error
                with watch("refine"):
                    mask = refined(codes, image.pixels, score, crf, windows, image.valid)
                with watch("write"):
                    image_id = entries[row]["image_id"]
                    content = self._store(uploads, image_id, image.pixels, mask, colours)
                with watch("flicker"):
                    flicker.add(row, image.pixels, mask.classes)
                rows[row] = MarginSums.of(mask.classes, mask.margins, classes)
                digests.append(keys.digest(content))
                size += len(content)
        results = {
            "masks": len(rows),
            **MarginSums.total(rows.values(), classes).document(),
            "flicker": [flicker.total.pairs, flicker.total.still, flicker.total.changed],
        }
        if not self.baseline:
            results["confidence"] = confidence_table.packed(rows)
        checksum, seconds = keys.digest(keys.canonical(digests)), shard_codes.seconds
        seconds, invalid = {**seconds, **watch.seconds}, shard_codes.invalid
        record = Record(shard, self.rows(shard), size, checksum, seconds, invalid, results)
        return Folder(self.spec.storage, self.path).record(record)

    def _store(
        self,
        uploads: Uploads,
        image_id: str,
        image: NDArray[np.uint8],
        mask: Refined,
        colours: NDArray[np.uint8],
    ) -> bytes:
        """Write an image's mask, then its margins and overlay; returns the mask's bytes."""
        content = images.encode_mask(mask.classes, colours)
        uploads.write(layout.mask(self.path, image_id), content)
        if not self.baseline:
            margins = images.encode_margins(mask.margins)
            uploads.write(layout.margins(self.path, image_id), margins)
        if self.overlays:
            coloured_mask, covered = coloured(mask.classes, colours), mask.classes != VOID_BYTE
            blended = overlay(image, coloured_mask, covered=covered)
            uploads.write(layout.overlay(self.path, image_id), images.encode_overlay(blended))
        return content


def plan(
    workspace: Workspace, dump: str, clusters_key: str, options: MasksOptions, device: str
) -> Stage | None:
    """Plan the masks of a dump made with these clusters; as `plan_masks`."""
    return plan_masks(workspace, dump, mask_source(workspace, clusters_key, options), device)


def plan_masks(workspace: Workspace, dump: str, spec: MaskSource, device: str) -> Stage | None:
    """Plan the masks of a dump; None if they are complete.

    A baseline's masks are made for labelled images only, without overlays: they are there to be
    scored.

    Raises:
        OptionError: the CRF's package is not installed.
    """
    baseline, options = spec.baseline, spec.options
    corpus = workspace.corpus(dump).manifest()
    folder = Folder(workspace.storage, spec.masks_path(dump))
    folder.plan({"index": corpus["index"], "dump": dump})
    if folder.finished:
        return None
    spec.crf()  # refuses a missing package before any work
    tell_if_slow(options)
    index, overlays = IndexReader(workspace, dump), options.overlays and not baseline
    work = MasksWork(index, spec, folder.path, baseline, overlays, device)
    document = spec.document()
    manifest = {
        "stage": "masks",
        "version": MASKS_VERSION,
        "options": options.model_dump(mode="json"),
        "dump": dump,
        **document,
        "inputs": {**document["inputs"], "index": corpus["index"]},
    }
    title = f"masks {dump}" + (f" ({spec.method})" if spec.method else "")
    shards = arrays.shard_count(corpus["images"], shard_images(options))
    memory, count = spec.memory(corpus["largest"]), corpus["images"]
    return Stage(folder, title, "images", count, shards, work, manifest, memory)


def shard_images(options: MasksOptions) -> int:
    """Images of a shard."""
    return SMOOTHED_IMAGES if options.smooth_frames else SHARD_IMAGES


def finish(workspace: Workspace, stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Add up the pixels of each class, write the table of confidence, then the manifest."""
    index = IndexReader(workspace, stage.manifest["dump"])
    with_confidence = heads.are_stego_masks(stage.manifest)
    of_records, masks, flicker = RecordSums(), 0, ClassChanges()
    sums = MarginSums.total([], 1)  # zeros, which spread to as many classes as there are
    with confidence_table.PackedTable.begun() as table:
        for record in of_records.added(stage.records()):
            results = record.results
            masks += results["masks"]
            sums += MarginSums.from_document(results)
            flicker += ClassChanges(*results.get("flicker", ()))
            if with_confidence and "confidence" in results:
                table.add(results["confidence"])
            elif with_confidence:
                table.add_part(stage.folder, record.shard, len(sums.pixels))
        if with_confidence:
            table.write(stage.folder, index, sums)
    return stage.finish(
        seconds,
        computed,
        of_records,
        masks=masks,
        **sums.document(),
        flicker=flicker.share,
        flicker_pairs=flicker.pairs,
    )
