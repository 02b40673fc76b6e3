"""Stage scores: masks against labels, beside k-means on raw features and a linear probe."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.geometry import Window
from stego_core.images.rendering import Picture
from stego_core.images.upsampling import scores_at
from stego_core.labels.void import VOID, VOID_BYTE
from stego_core.masks.segmenter import in_windows
from stego_core.scores import linear_probe as probe
from stego_core.scores import metrics
from stego_core.scores.metrics import Confusion
from tasks.corpus.index import IndexReader
from tasks.engine.prefetch import ahead
from tasks.engine.stage import Stage, Stopwatch, summed
from tasks.engine.steps import Step
from tasks.images import image_codecs
from tasks.masks.segmenter import SegmenterSpec, predicted_memory
from tasks.scores.spread import two_digits
from tasks.workspace import keys, tables
from tasks.workspace.layout import SCORES
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 2
SHARD_IMAGES = 8
METHODS = {"stego": "", "baseline": "baseline_", "linear": "linear_"}
"""What is scored, and how the names of its figures begin."""
FETCHES_AHEAD = 2
"""Images whose files are read while the one before them is being scored."""


class Sources(NamedTuple):
    """What a dump's scores are made from.

    Attributes:
        spec: the segmenter that made the masks.
        baseline: the segmenter of the raw features' masks; None without.
        probe: file of the linear probe; None without.
        refined: whether the probe's classes go through the CRF, like the masks'.
    """

    spec: SegmenterSpec
    baseline: SegmenterSpec | None
    probe: str | None
    refined: bool = False

    @property
    def probe_is_refined(self) -> bool:
        """Whether there is a probe whose classes go through the CRF."""
        return self.refined and self.probe is not None

    def document(self, dump: str) -> dict[str, str | None]:
        """For keys and manifests."""
        return {
            "masks": self.spec.masks_path(dump),
            "baseline": self.baseline.masks_path(dump) if self.baseline else None,
            "probe": self.probe,
            **({"probe_refined": "crf"} if self.probe_is_refined else {}),
        }


class Labelled(NamedTuple):
    """One labelled image: its classes, what was predicted, and its pixels for the probe's CRF.

    Attributes:
        labels: (H, W) int16, void −1, also where there is no data.
        masks: (H, W) uint8 per method.
        image: its picture; None where nothing is refined.
    """

    labels: NDArray[np.int16]
    masks: dict[str, NDArray[np.uint8]]
    image: Picture | None


@dataclass
class ShardCodes:
    """Codes of a shard's labelled images, on their way to the probe.

    Attributes:
        codes: (h, w, D) float32 by row; none where there is no probe.
        invalid: reason by row.
        seconds: time spent.
    """

    codes: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    invalid: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoresWork:
    """Confusion matrices of one shard's labelled images."""

    index: IndexReader
    sources: Sources
    path: str
    clusters: int
    device: str

    def steps(self) -> Sequence[Step]:
        """Codes for the probe, then all that is counted, a CRF perhaps among it."""
        return [Step(self.codes, gpu=self.sources.probe is not None), Step(self.count)]

    def rows(self, shard: int) -> tuple[int, int]:
        """First and past-the-last row of a shard."""
        total = self.index.manifest["images"]
        return shard * SHARD_IMAGES, min((shard + 1) * SHARD_IMAGES, total)

    def codes(self, shard: int) -> ShardCodes:
        """Codes of the shard's labelled images."""
        watch, result = Stopwatch(), ShardCodes()
        if self.sources.probe is None:
            return result
        rows = np.arange(*self.rows(shard), dtype=np.int64)
        entries = dict(zip(rows.tolist(), self.index.entries(rows), strict=True))
        labelled = {row: entry for row, entry in entries.items() if entry["label_digest"]}
        pictures = watch.each("read", self.index.images(labelled.values()))
        for row, (_, image) in zip(labelled, pictures, strict=True):
            if isinstance(image, ImageError):
                result.invalid[row] = f"not scored: {image}"
                continue
            segmenter = self.sources.spec.build(self.device)
            with watch("infer"):
                result.codes[row] = segmenter.codes(image.pixels, image.valid)
        result.seconds = watch.seconds
        return result

    def count(self, shard: int, coded: ShardCodes) -> Record:
        """Confusion matrices of the masks, the baseline's masks and the probe."""
        watch, span = Stopwatch(), self.rows(shard)
        classes = len(self.index.taxonomy().classes)
        shapes = {"stego": self.clusters}
        if self.sources.baseline:
            shapes["baseline"] = len(self.sources.baseline.centroids())
        if self.sources.probe:
            shapes["linear"] = classes
        counts = {name: Confusion.create(classes, width) for name, width in shapes.items()}
        invalid = dict(coded.invalid)
        entries = self.index.entries(np.arange(*span))
        fetched = watch.each("read", ahead(entries, self._fetched, FETCHES_AHEAD))
        for row, (_, found) in zip(range(*span), fetched, strict=True):
            if isinstance(found, Exception):
                invalid[row] = f"not scored: {found}"
            if row in invalid or not isinstance(found, Labelled):
                continue
            predicted = dict(found.masks)
            if row in coded.codes:
                with watch("refine"):
                    predicted["linear"] = self._probe_classes(coded.codes[row], found)
            for name, confusion in counts.items():
                confusion.add(found.labels, predicted[name])
        results = {name: confusion.counts.tolist() for name, confusion in counts.items()}
        checksum = keys.digest(keys.canonical(results))
        seconds = summed(iter((coded.seconds, watch.seconds)))
        record = Record(shard, span, 0, checksum, seconds, invalid, results)
        Folder(self.index.workspace.storage, self.path).record(record)
        return record

    def _fetched(self, entry: dict[str, Any]) -> Labelled | ImageError | FileNotFoundError | None:
        """All that one image's scores are made from; None without a label."""
        try:
            labels = self.index.labels(entry)
            if labels is None:
                return None
            masks = {"stego": self._mask(self.sources.spec, entry)}
            if self.sources.baseline:
                masks["baseline"] = self._mask(self.sources.baseline, entry)
            labels = np.where(masks["stego"] == VOID_BYTE, VOID, labels).astype(np.int16)
            image = self.index.image(entry) if self.sources.probe_is_refined else None
            return Labelled(labels, masks, image)
        except (ImageError, FileNotFoundError) as error:
            return error

    def _mask(self, spec: SegmenterSpec, entry: dict[str, Any]) -> NDArray[np.uint8]:
        path = f"{spec.masks_path(self.index.dump)}/{entry['image_id']}.png"
        return image_codecs.decode_mask(spec.storage.read(path))

    def _probe_classes(self, codes: NDArray[np.float32], found: Labelled) -> NDArray[np.uint8]:
        """The linear probe's class of every pixel of an image, codes (h, w, D) interpolated."""
        assert self.sources.probe is not None  # codes come only where there is one
        fitted = probe.Probe(
            **tables.read_tensors(self.index.workspace.storage, self.sources.probe)
        )
        crf, image = self.sources.spec.crf(), found.image
        height, width = found.labels.shape

        def classify(window: Window) -> NDArray[np.uint8]:
            logits = scores_at(codes, fitted.logits, (height, width), window)
            if image is not None:
                unary = probe.log_probabilities(logits.transpose(1, 2, 0)).transpose(2, 0, 1)
                there = None if image.valid is None else image.valid[window.slices]
                if there is None or there.any():
                    logits = crf.refine(unary, image.pixels[window.slices], there)
            return np.asarray(logits.argmax(axis=0), np.uint8)

        return in_windows((height, width), self.sources.spec.view(), classify)


def plan(workspace: Workspace, dump: str, sources: Sources, device: str) -> Stage | None:
    """Scores of a dump's masks; None if they are there or the dump has no labels."""
    corpus = workspace.corpus(dump).manifest()
    if not corpus["labelled"]:
        return None
    folder = workspace.folder(SCORES, scores_key(workspace, dump, sources), dump)
    if folder.finished:
        return None
    centroids = sources.spec.centroids()
    work = ScoresWork(IndexReader(workspace, dump), sources, folder.path, len(centroids), device)
    inputs, count = sources.document(dump), corpus["images"]
    manifest = {"stage": "scores", "version": VERSION, "dump": dump, "inputs": inputs}
    shards = -(-count // SHARD_IMAGES)
    memory = 0
    if sources.probe_is_refined:
        classes = len(work.index.taxonomy().classes)
        memory = predicted_memory(corpus["largest"], classes, sources.spec.options)
    return Stage(folder, f"scores {dump}", "images", count, shards, work, manifest, memory)


def scores_key(workspace: Workspace, dump: str, sources: Sources) -> str:
    """Key of a dump's scores."""
    corpus = workspace.corpus(dump).manifest()
    inputs = {"index": corpus["index"], "taxonomy": corpus["taxonomy"], **sources.document(dump)}
    return keys.key("scores", VERSION, sources.spec.options, inputs)


def finish(workspace: Workspace, stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Merge the confusion matrices, match clusters to classes, and write the figures."""
    records = stage.folder.records(stage.shards)
    taxonomy = IndexReader(workspace, stage.manifest["dump"]).taxonomy()
    merged = {
        name: np.sum([record.results[name] for record in records], axis=0)
        for name in records[0].results
    }
    result: dict[str, Any] = {}
    matching: dict[str, list[int]] = {}
    for name, prefix in METHODS.items():
        result |= dict.fromkeys((f"{prefix}accuracy", f"{prefix}miou"))
        if name not in merged:
            continue
        matched = (
            metrics.identity_match(len(taxonomy.classes))
            if name == "linear"
            else metrics.match(merged[name])
        )
        figures = metrics.scores(merged[name], matched)
        matching[name] = matched.tolist()
        result |= _pair(prefix, figures)
        if name == "stego":
            named = zip(taxonomy.classes, figures.per_class, strict=True)
            result["per_class"] = {cls: two_digits(iou) for cls, iou in named}
    majority = metrics.majority_match(merged["stego"])
    result |= _pair("many_", metrics.scores(merged["stego"], majority))
    return stage.finish(
        seconds,
        computed,
        scores=result,
        matching=matching,
        confusion={name: counts.tolist() for name, counts in merged.items()},
        classes=list(taxonomy.classes),
    )


def _pair(prefix: str, figures: metrics.Scores) -> dict[str, float | None]:
    pair = {"accuracy": figures.accuracy, "miou": figures.miou}
    return {f"{prefix}{name}": two_digits(value) for name, value in pair.items()}
