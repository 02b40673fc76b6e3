"""Stage scores: masks against labels, beside k-means on raw features and a linear probe."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from tasks.corpus.index import Entry, IndexReader
from tasks.engine.prefetch import ahead
from tasks.engine.stage import Stage, Stopwatch, summed
from tasks.engine.steps import Step
from tasks.images import image_codecs
from tasks.masks.segmenter import SegmenterSpec, predicted_memory
from tasks.masks.shard_codes import ShardCodes, image_codes
from tasks.scores.spread import two_digits
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.layout import SCORES
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 2
"""Raised whenever the same masks would give other scores."""
SHARD_IMAGES = 8
"""Images of a shard."""
METHODS = {"stego": "", "baseline": "baseline_", "linear": "linear_"}
"""The methods that are scored, and the prefix of their figures' names."""
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


@dataclass(frozen=True)
class Labelled:
    """One labelled image: its classes, what was predicted, and its pixels for the probe's CRF.

    Attributes:
        labels: (H, W) int16, void −1, also where there is no data.
        masks: (H, W) uint8 per method.
        image: its picture; None where nothing is refined.
    """

    labels: NDArray[np.int16]
    masks: dict[str, NDArray[np.uint8]]
    image: Picture | None


@dataclass(frozen=True)
class ScoresWork:
    """Confusion matrices of one shard's labelled images."""

    index: IndexReader
    sources: Sources
    path: str
    clusters: int
    device: str

    def steps(self) -> Sequence[Step]:
        """Codes for the probe, then the counting, with its CRF where there is one."""
        return [Step(self.codes, gpu=self.sources.probe is not None), Step(self.count)]

    def _entries(self, shard: int) -> dict[int, Entry]:
        """Index entries, by row, of the shard's labelled images."""
        rows = np.arange(*self._span(shard), dtype=np.int64)
        entries = zip(rows.tolist(), self.index.entries(rows), strict=True)
        return {row: entry for row, entry in entries if entry["label_digest"]}

    def _span(self, shard: int) -> tuple[int, int]:
        return arrays.shard_span(shard, SHARD_IMAGES, self.index.manifest["images"])

    def codes(self, shard: int) -> ShardCodes:
        """Codes of the shard's labelled images; none where there is no probe."""
        watch, result = Stopwatch(), ShardCodes()
        if self.sources.probe is None:
            return result
        entries, spec = self._entries(shard), self.sources.spec.of_codes()  # as the probe reads
        images = image_codes(self.index, list(entries.values()), spec, self.device, watch)
        for row, image in zip(entries, images, strict=True):
            if isinstance(image, ImageError):
                result.invalid[row] = f"not scored: {image}"
            else:
                result.codes[row] = image[1]
        result.seconds = watch.seconds
        return result

    def count(self, shard: int, shard_codes: ShardCodes) -> Record:
        """Confusion matrices of the masks, the baseline's masks and the probe."""
        watch, invalid, entries = Stopwatch(), dict(shard_codes.invalid), self._entries(shard)
        confusions = self._empty_confusions()
        fetched = watch.each("read", ahead(entries.values(), self._fetch, FETCHES_AHEAD))
        for row, (_, image) in zip(entries, fetched, strict=True):
            if not isinstance(image, Labelled):
                invalid[row] = f"not scored: {image}"
            if row in invalid or not isinstance(image, Labelled):
                continue
            predicted = dict(image.masks)
            if row in shard_codes.codes:
                with watch("refine"):
                    predicted["linear"] = self._probe_classes(shard_codes.codes[row], image)
            for name, confusion in confusions.items():
                confusion.add(image.labels, predicted[name])
        results = {name: confusion.counts.tolist() for name, confusion in confusions.items()}
        checksum = keys.digest(keys.canonical(results))
        seconds = summed(iter((shard_codes.seconds, watch.seconds)))
        record = Record(shard, self._span(shard), 0, checksum, seconds, invalid, results)
        return Folder(self.index.workspace.storage, self.path).record(record)

    def _empty_confusions(self) -> dict[str, Confusion]:
        """A confusion matrix per method."""
        classes = len(self.index.taxonomy().classes)
        predicted = {"stego": self.clusters}
        if self.sources.baseline:
            predicted["baseline"] = len(self.sources.baseline.centroids())
        if self.sources.probe:
            predicted["linear"] = classes
        return {name: Confusion(classes, count) for name, count in predicted.items()}

    def _fetch(self, entry: Entry) -> Labelled | ImageError | FileNotFoundError:
        """What one image's scores are made from, or why it cannot be had."""
        try:
            labels = self.index.labels(entry)
            assert labels is not None  # only labelled images are scored
            masks = {"stego": self._mask(self.sources.spec, entry)}
            if self.sources.baseline:
                masks["baseline"] = self._mask(self.sources.baseline, entry)
            labels = np.where(masks["stego"] == VOID_BYTE, VOID, labels).astype(np.int16)
            image = self.index.image(entry) if self.sources.probe_is_refined else None
            return Labelled(labels, masks, image)
        except (ImageError, FileNotFoundError) as error:
            return error

    def _mask(self, spec: SegmenterSpec, entry: Entry) -> NDArray[np.uint8]:
        path = layout.mask(spec.masks_path(self.index.dump), entry["image_id"])
        return image_codecs.decode_mask(spec.storage.read(path))

    def _probe_classes(self, codes: NDArray[np.float32], image: Labelled) -> NDArray[np.uint8]:
        """The linear probe's class of every pixel of an image, codes (h, w, D) interpolated."""
        assert self.sources.probe is not None  # codes come only where there is one
        tensors = tables.read_tensors(self.index.workspace.storage, self.sources.probe)
        fitted, spec, picture = probe.Probe(**tensors), self.sources.spec, image.image
        crf, (height, width) = spec.crf(), image.labels.shape

        def classify(window: Window) -> NDArray[np.uint8]:
            logits = scores_at(codes, fitted.logits, (height, width), window)
            if picture is not None:
                with_data = None if picture.valid is None else picture.valid[window.slices]
                if with_data is None or with_data.any():
                    unary = probe.log_probabilities(logits.transpose(1, 2, 0)).transpose(2, 0, 1)
                    logits = crf.refine(unary, picture.pixels[window.slices], with_data)
            return np.asarray(logits.argmax(axis=0), np.uint8)

        return in_windows((height, width), spec.windows(), classify, layers=())


def plan(workspace: Workspace, dump: str, sources: Sources, device: str) -> Stage | None:
    """Plan the scores of a dump's masks; None if they are there or it has no labels."""
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
    shards = arrays.shard_count(count, SHARD_IMAGES)
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
    """Add up the confusion matrices, match clusters to classes, and write the figures."""
    records = stage.folder.records(stage.shards)
    classes = IndexReader(workspace, stage.manifest["dump"]).taxonomy().classes
    confusions = {
        name: np.sum([record.results[name] for record in records], axis=0)
        for name in records[0].results
    }
    figures: dict[str, Any] = {}
    matching: dict[str, list[int]] = {}
    for name, prefix in METHODS.items():
        if name not in confusions:
            figures |= dict.fromkeys((f"{prefix}accuracy", f"{prefix}miou"))
            continue
        linear = name == "linear"
        match = np.arange(len(classes)) if linear else metrics.match(confusions[name])
        scores = metrics.scores(confusions[name], match)
        matching[name] = match.tolist()
        figures |= _figures(prefix, scores)
        if name == "stego":
            per_class = map(two_digits, scores.per_class)
            figures["per_class"] = dict(zip(classes, per_class, strict=True))
    majority = metrics.majority_match(confusions["stego"])
    figures |= _figures("many_", metrics.scores(confusions["stego"], majority))
    return stage.finish(
        seconds,
        computed,
        scores=figures,
        matching=matching,
        confusion={name: counts.tolist() for name, counts in confusions.items()},
        classes=list(classes),
    )


def _figures(prefix: str, scores: metrics.Scores) -> dict[str, float | None]:
    return {
        f"{prefix}accuracy": two_digits(scores.accuracy),
        f"{prefix}miou": two_digits(scores.miou),
    }
