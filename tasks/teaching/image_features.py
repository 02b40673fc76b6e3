"""Stage image features: what each image of a dump is read as, kept for taught models."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stego_core.errors import ImageError
from tasks.corpus.index import IndexReader
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.masks import kept_features
from tasks.masks.segmenter import SegmenterSpec
from tasks.masks.taught_segmenter import beside_features
from tasks.storage.uploads import Uploads
from tasks.workspace import arrays, keys, layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

SHARD_IMAGES = 8
"""Images of a shard."""


@dataclass(frozen=True)
class ImageFeaturesWork(GpuWork):
    """Reads one shard of images and keeps their features."""

    index: IndexReader
    spec: SegmenterSpec
    key: str
    device: str

    def shard(self, shard: int) -> Record:
        """Write a file for each readable image, then the record."""
        watch, folder = Stopwatch(), self.folder()
        first, last = arrays.shard_span(shard, SHARD_IMAGES, self.index.manifest["images"])
        invalid: dict[int, str] = {}
        digests, size = [], 0
        entries = self.index.entries(np.arange(first, last))
        images = watch.each("read", self.index.images(entries))
        with Uploads(folder.storage) as uploads:
            for row, (entry, image) in zip(range(first, last), images, strict=True):
                if isinstance(image, ImageError):
                    invalid[row] = str(image)
                    continue
                with watch("infer"):
                    reader = beside_features(self.spec).build(self.device)
                    beside = reader.codes(image.pixels, image.valid)
                    code_size = beside.shape[-1] - self.spec.backbone.channels
                    kept = kept_features.of_beside(beside, self.spec, code_size)
                with watch("write"):
                    path = layout.image_feature(self.key, self.index.dump, entry["image_id"])
                    content = kept_features.encoded(kept)
                    uploads.write(path, content)
                digests.append(keys.digest(content))
                size += len(content)
        checksum = keys.digest(keys.canonical(digests))
        return folder.record(Record(shard, (first, last), size, checksum, watch.seconds, invalid))

    def folder(self) -> Folder:
        """Where the features lie."""
        return kept_features.dump_folder(self.spec.storage, self.key, self.index.dump)


def plan(workspace: Workspace, dump: str, spec: SegmenterSpec, device: str) -> Stage | None:
    """Plan the features of a dump's images as these clusters' masks read them; None if there."""
    corpus, index = workspace.corpus(dump).manifest(), IndexReader(workspace, dump)
    work = ImageFeaturesWork(index, spec, kept_features.features_key(spec), device)
    folder = work.folder()
    folder.plan({"index": corpus["index"], "dump": dump})
    if folder.finished:
        return None
    manifest: dict[str, Any] = {
        "stage": "image_features",
        "version": kept_features.VERSION,
        "dump": dump,
        "inputs": {"clusters": spec.clusters_key, "index": corpus["index"]},
    }
    count = corpus["images"]
    shards = arrays.shard_count(count, SHARD_IMAGES)
    memory = spec.memory(corpus["largest"])
    return Stage(folder, f"image features {dump}", "images", count, shards, work, manifest, memory)
