"""Stage scores: masks against labels, beside those of baselines and a linear probe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.geometry import Window
from stego_core.images.palette import palette
from stego_core.images.rendering import Picture
from stego_core.images.upsampling import scores_at
from stego_core.labels.void import VOID, VOID_BYTE
from stego_core.masks.segmenter import in_windows
from stego_core.scores import linear_probe as probe
from stego_core.scores import metrics
from stego_core.scores.metrics import Confusion
from tasks.corpus.index import Entry, IndexReader
from tasks.engine.prefetch import ahead
from tasks.engine.stage import RecordSums, Stage, Stopwatch, summed
from tasks.engine.steps import Step
from tasks.images import image_codecs
from tasks.masks.mask_source import MaskSource
from tasks.masks.picie_segmenter import PicieSpec
from tasks.masks.segmenter import SegmenterSpec, predicted_memory
from tasks.masks.shard_codes import ShardCodes, image_codes
from tasks.masks.taught_segmenter import TaughtSpec
from tasks.scores import matching
from tasks.scores.spread import two_digits
from tasks.sources.reading import Block
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.layout import SCORES
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 3
"""Raised whenever the same masks would give other scores."""
SHARD_IMAGES = 8
"""Images of a shard."""
METHODS = {"stego": "", "baseline": "baseline_", "picie": "picie_", "linear": "linear_"}
"""The methods that are scored, and the prefix of their figures' names."""
FETCHES_AHEAD = 2
"""Images whose files are read while the one before them is being scored."""


class Sources(NamedTuple):
    """What a dump's scores are made from.

    Attributes:
        spec: the segmenter that made the masks; None where PiCIE alone is scored.
        baseline: the segmenter of the raw features' masks; None without.
        probe: file of the linear probe; None without.
        refined: whether the probe's classes go through the CRF, like the masks'.
        probe_masks: whether the probe's classes are written as masks.
        picie: PiCIE, whose masks are scored; None without.
    """

    spec: SegmenterSpec | TaughtSpec | None
    baseline: SegmenterSpec | None
    probe: str | None
    refined: bool = False
    probe_masks: bool = False
    picie: PicieSpec | None = None

    @property
    def masks(self) -> dict[str, MaskSource]:
        """The methods whose masks are scored, by name: one at least."""
        named = {"stego": self.spec, "baseline": self.baseline, "picie": self.picie}
        return {name: source for name, source in named.items() if source is not None}

    @property
    def probe_is_refined(self) -> bool:
        """Whether there is a probe whose classes go through the CRF."""
        return self.refined and self.probe is not None

    def document(self, dump: str) -> dict[str, str | None]:
        """For keys and manifests."""
        return {
            "masks": self.spec.masks_path(dump) if self.spec else None,
            "baseline": self.baseline.masks_path(dump) if self.baseline else None,
            "probe": self.probe,
            **({"probe_refined": "crf"} if self.probe_is_refined else {}),
            **({"probe_masks": "png"} if self.probe_masks and self.probe else {}),
            **({"picie": self.picie.masks_path(dump)} if self.picie else {}),
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
        if self.sources.probe is None or self.sources.spec is None:
            return result
        entries, spec = (
            self._entries(shard),
            self.sources.spec.base.of_codes(),
        )  # as the probe reads
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
        blocks = self.index.label_blocks(list(entries.values()))
        sources = zip(entries.values(), blocks, strict=True)
        fetched = watch.each("read", ahead(sources, self._fetch, FETCHES_AHEAD))
        for row, (_, image) in zip(entries, fetched, strict=True):
            if not isinstance(image, Labelled):
                invalid[row] = f"not scored: {image}"
            if row in invalid or not isinstance(image, Labelled):
                continue
            predicted = dict(image.masks)
            if row in shard_codes.codes:
                with watch("refine"):
                    predicted["linear"] = self._probe_classes(shard_codes.codes[row], image)
                if self.sources.probe_masks:
                    self._write_probe_mask(entries[row]["image_id"], predicted["linear"])
            for name, confusion in confusions.items():
                confusion.add(image.labels, predicted[name])
        results = {name: confusion.counts.tolist() for name, confusion in confusions.items()}
        checksum = keys.digest(keys.canonical(results))
        seconds = summed((shard_codes.seconds, watch.seconds))
        record = Record(shard, self._span(shard), 0, checksum, seconds, invalid, results)
        return Folder(self.index.workspace.storage, self.path).record(record)

    def _empty_confusions(self) -> dict[str, Confusion]:
        """A confusion matrix per method."""
        classes = len(self.index.taxonomy().classes)
        predicted = {name: source.classes for name, source in self.sources.masks.items()}
        if self.sources.probe:
            predicted["linear"] = classes
        return {name: Confusion(classes, count) for name, count in predicted.items()}

    def _fetch(
        self, source: tuple[Entry, Block | None]
    ) -> Labelled | ImageError | FileNotFoundError:
        """What one image's scores are made from, or why it cannot be had."""
        entry, block = source
        try:
            labels = self.index.labels(entry, block)
            assert labels is not None  # only labelled images are scored
            sources = self.sources.masks
            masks = {name: self._mask(source, entry) for name, source in sources.items()}
            without_data = next(iter(masks.values())) == VOID_BYTE
            labels = np.where(without_data, VOID, labels).astype(np.int16)
            image = self.index.image(entry) if self.sources.probe_is_refined else None
            return Labelled(labels, masks, image)
        except (ImageError, FileNotFoundError) as error:
            return error

    def _mask(self, spec: MaskSource, entry: Entry) -> NDArray[np.uint8]:
        path = layout.mask(spec.masks_path(self.index.dump), entry["image_id"])
        return image_codecs.decode_mask(spec.storage.read(path))

    def _write_probe_mask(self, image_id: str, classes: NDArray[np.uint8]) -> None:
        colours = palette(len(self.index.taxonomy().classes))
        path = layout.probe_mask(self.path, image_id)
        storage = self.index.workspace.storage
        storage.write(path, image_codecs.encode_mask(classes, colours))

    def _probe_classes(self, codes: NDArray[np.float32], image: Labelled) -> NDArray[np.uint8]:
        """The linear probe's class of every pixel of an image, codes (h, w, D) interpolated."""
        assert self.sources.probe is not None  # codes come only where there are both
        assert self.sources.spec is not None
        tensors = tables.read_tensors(self.index.workspace.storage, self.sources.probe)
        fitted, spec, picture = probe.Probe(**tensors), self.sources.spec, image.image
        crf, (height, width) = spec.crf(), image.labels.shape

        def classify(window: Window) -> NDArray[np.uint8]:
            logits = scores_at(fitted.logits, codes, (height, width), window)
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
    work = ScoresWork(IndexReader(workspace, dump), sources, folder.path, device)
    inputs, count = sources.document(dump), corpus["images"]
    manifest = {"stage": "scores", "version": VERSION, "dump": dump, "inputs": inputs}
    if isinstance(sources.spec, TaughtSpec):
        manifest["taught_names"] = sources.spec.names()
    shards = arrays.shard_count(count, SHARD_IMAGES)
    memory = 0
    if sources.probe_is_refined and sources.spec:
        classes = len(work.index.taxonomy().classes)
        memory = predicted_memory(corpus["largest"], classes, sources.spec.options)
    return Stage(folder, f"scores {dump}", "images", count, shards, work, manifest, memory)


def scores_key(workspace: Workspace, dump: str, sources: Sources) -> str:
    """Key of a dump's scores."""
    corpus = workspace.corpus(dump).manifest()
    inputs = {"index": corpus["index"], "taxonomy": corpus["taxonomy"], **sources.document(dump)}
    options = next(iter(sources.masks.values())).options
    return keys.key("scores", VERSION, options, inputs)


def finish(workspace: Workspace, stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Add up the confusion matrices, match clusters to classes, and write the figures."""
    of_records, confusions = RecordSums(), dict[str, NDArray[np.int64]]()
    classes = IndexReader(workspace, stage.manifest["dump"]).taxonomy().classes
    for record in of_records.added(stage.records()):
        for name, counts in record.results.items():
            confusions[name] = confusions.get(name, np.int64(0)) + np.asarray(counts, np.int64)
    found: dict[str, Any] = {}
    clusters_of: dict[str, list[int]] = {}
    for name, prefix in METHODS.items():
        if name not in confusions:
            found |= dict.fromkeys((f"{prefix}accuracy", f"{prefix}miou"))
            continue
        names = stage.manifest.get("taught_names") if name == "stego" else None
        match = matching.matched(name, confusions[name], classes, names)
        scores = metrics.scores(confusions[name], match)
        clusters_of[name] = match.tolist()
        found |= matching.figures(prefix, scores)
        if name == "stego" and len(match) > len(classes):
            found |= matching.figures("released_", metrics.released_scores(confusions[name]))
        if name == "stego":
            per_class = map(two_digits, scores.per_class)
            found["per_class"] = dict(zip(classes, per_class, strict=True))
    found |= matching.many_to_one(confusions.get("stego"))
    return stage.finish(
        seconds,
        computed,
        of_records,
        scores=found,
        matching=clusters_of,
        confusion={name: counts.tolist() for name, counts in confusions.items()},
        classes=list(classes),
    )
