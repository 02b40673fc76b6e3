"""Stage masks: a class for every pixel of every image, one palette PNG each, how sure, overlays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.geometry import MAX_ASPECT
from stego_core.images.palette import coloured, overlay, palette
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.margins import MarginSums
from stego_core.masks.segmenter import Refined, refined
from stego_core.video.flicker import Flicker
from stego_core.video.smoothing import Frame, smoothed
from tasks.corpus.index import Entry, IndexReader
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.features import backbones
from tasks.head import heads
from tasks.images import image_codecs as images
from tasks.masks import confidence_table
from tasks.masks.segmenter import (
    MASKS_VERSION,
    SegmenterSpec,
    masks_path,
    predicted_memory,
    segmenter_spec,
)
from tasks.options import MasksOptions
from tasks.storage.uploads import Uploads
from tasks.video import frame_order
from tasks.video.flicker import FlickerCounter
from tasks.workspace import keys, layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

SHARD_IMAGES = 8
SMOOTHED_IMAGES = 32
"""Images of a shard where codes are averaged over neighbours: those outside it are computed twice.
"""


@dataclass
class ShardCodes:
    """Codes of a shard's images, on their way from the first step to the second.

    Attributes:
        codes: (h, w, D) float32 per image; None for one that could not be read.
        invalid: reason per row.
        seconds: time spent.
    """

    codes: list[NDArray[np.float32] | None] = field(default_factory=list)
    invalid: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MasksWork:
    """Labels one shard of images: codes on a GPU where there is one, then the CRF on a CPU."""

    index: IndexReader
    spec: SegmenterSpec
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
        return shard * size, min((shard + 1) * size, total)

    def _entries(self, shard: int) -> tuple[list[int], list[Entry]]:
        """Rows and index entries of the shard's images that get a mask."""
        rows = np.arange(*self.rows(shard), dtype=np.int64)
        pairs = zip(rows.tolist(), self.index.entries(rows), strict=True)
        wanted = [(r, e) for r, e in pairs if e["label_digest"] or not self.baseline]
        return [row for row, _ in wanted], [entry for _, entry in wanted]

    def codes(self, shard: int) -> ShardCodes:
        """Codes of every readable image of the shard, averaged with those of its neighbours."""
        watch, result = Stopwatch(), ShardCodes()
        rows, _ = self._entries(shard)
        around = {row: self._around(row) for row in rows}
        wanted = np.unique([*rows, *chain.from_iterable(around.values())]).astype(np.int64)
        frames: dict[int, Frame] = {}
        images = watch.each("read", self.index.images(self.index.entries(wanted)))
        for row, (_, image) in zip(wanted.tolist(), images, strict=True):
            if isinstance(image, ImageError):
                if row in around:
                    result.invalid[row] = str(image)
                continue
            segmenter = self.spec.build(self.device)
            with watch("infer"):
                frames[row] = Frame.of(segmenter.codes(image.pixels, image.valid), image.pixels)
        for row, others in around.items():
            neighbours = [frames[other] for other in others if other in frames]
            result.codes.append(smoothed(frames[row], neighbours) if row in frames else None)
        result.seconds = watch.seconds
        return result

    def _around(self, row: int) -> list[int]:
        """Rows of the neighbouring frames that an image's codes are averaged with."""
        reach = self.spec.options.smooth_frames
        return frame_order.links(self.index).around(row, reach) if reach else []

    def refine(self, shard: int, coded: ShardCodes) -> Record:
        """Masks of the shard's images, written, then put on record."""
        watch = Stopwatch()
        centroids, crf, view = self.spec.centroids(), self.spec.crf(), self.spec.view()
        colours = palette(len(centroids))
        rows: list[confidence_table.ConfidenceRow] = []
        restless = FlickerCounter(self.index, [] if self.baseline else self._entries(shard)[0])
        written: list[str] = []
        size = 0
        numbered = zip(*self._entries(shard), coded.codes, strict=True)
        kept = [(row, entry, codes) for row, entry, codes in numbered if codes is not None]
        images = watch.each("read", self.index.images(entry for _, entry, _ in kept))
        with Uploads(self.spec.storage) as uploads:
            for (row, entry, codes), (_, image) in zip(kept, images, strict=True):
                if isinstance(image, ImageError):
                    raise image  # it was readable a moment ago: the weather
                with watch("refine"):
                    found = refined(codes, image.pixels, centroids, crf, view, image.valid)
                with watch("write"):
                    content = self._store(uploads, entry["image_id"], image.pixels, found, colours)
                with watch("flicker"):
                    restless.add(row, image.pixels, found.classes)
                sure = MarginSums.of(found.classes, found.margins, len(centroids))
                rows.append(confidence_table.ConfidenceRow(row, entry, sure))
                written.append(keys.digest(content))
                size += len(content)
        if not self.baseline:
            confidence_table.write_part(self.spec.storage, self.path, shard, rows, len(centroids))
        sure = MarginSums.total((row.sums for row in rows), len(centroids))
        record = Record(
            shard,
            self.rows(shard),
            size,
            keys.digest(keys.canonical(written)),
            {**coded.seconds, **watch.seconds},
            coded.invalid,
            {
                "masks": len(written),
                **sure.document(),
                "flicker": [restless.total.pairs, restless.total.still, restless.total.changed],
            },
        )
        Folder(self.spec.storage, self.path).record(record)
        return record

    def _store(
        self,
        uploads: Uploads,
        image_id: str,
        image: NDArray[np.uint8],
        found: Refined,
        colours: NDArray[np.uint8],
    ) -> bytes:
        """Write an image's mask, then what goes with it; returns the mask's bytes."""
        content = images.encode_mask(found.classes, colours)
        uploads.write(f"{self.path}/{image_id}.png", content)
        if not self.baseline:
            path = layout.margins(self.path, image_id)
            uploads.write(path, images.encode_margins(found.margins))
        if self.overlays:
            shown, covered = coloured(found.classes, colours), found.classes != VOID_BYTE
            blended = overlay(image, shown, covered=covered)
            path = layout.overlay(self.path, image_id)
            uploads.write(path, images.encode_overlay(blended))
        return content


def plan(
    workspace: Workspace, dump: str, clusters_key: str, options: MasksOptions, device: str
) -> Stage | None:
    """Masks of a dump; None if they are complete.

    The baseline's masks (the identity head) are made for labelled images only, without overlays:
    they are there to be scored.

    Raises:
        OptionError: the CRF's package is not installed.
    """
    spec = segmenter_spec(workspace, clusters_key, options)
    baseline = spec.head_key == heads.IDENTITY
    corpus = workspace.corpus(dump).manifest()
    folder = Folder(workspace.storage, masks_path(clusters_key, options, dump))
    folder.plan({"index": corpus["index"], "dump": dump})
    if folder.finished:
        return None
    spec.crf()  # refuses a missing package before any work
    work = MasksWork(
        IndexReader(workspace, dump),
        spec,
        folder.path,
        baseline=baseline,
        overlays=options.overlays and not baseline,
        device=device,
    )
    manifest = {
        "stage": "masks",
        "version": MASKS_VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": {"clusters": clusters_key, "head": spec.head_key, "index": corpus["index"]},
        "backbone": spec.backbone.document(),
        "dump": dump,
    }
    title = f"masks {dump}" + (" (raw features)" if baseline else "")
    shards = -(-corpus["images"] // shard_images(options))
    refining = predicted_memory(corpus["largest"], len(spec.centroids()), options)
    memory = backbones.backbone_memory(
        spec.backbone, tokens_at_once(options, spec.backbone.patch), refining
    )
    count = corpus["images"]
    return Stage(folder, title, "images", count, shards, work, manifest, memory)


def shard_images(options: MasksOptions) -> int:
    """Images of a shard."""
    return SMOOTHED_IMAGES if options.smooth_frames else SHARD_IMAGES


def tokens_at_once(options: MasksOptions, patch: int) -> int:
    """Patches of a window and of its mirrored twin, at most."""
    return 2 * min(options.tile**2, MAX_ASPECT * options.resolution**2) // patch**2


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Add up the pixels of each class, join the tables of confidence, and write the manifest."""
    records = stage.folder.records(stage.shards)
    count = len(records[0].results["pixels"])
    parts = (MarginSums.from_document(record.results) for record in records)
    sure = MarginSums.total(parts, count)
    masks = sum(record.results["masks"] for record in records)
    pairs = [Flicker(*record.results.get("flicker", ())) for record in records]
    restless = sum(pairs, Flicker())
    if stage.manifest["inputs"]["head"] != heads.IDENTITY:
        confidence_table.join_parts(stage.folder, stage.shards, sure)
    return stage.finish(
        seconds,
        computed,
        masks=masks,
        **sure.document(),
        flicker=restless.share,
        flicker_pairs=restless.pairs,
    )
