"""Stage features: training crops of the sampled images become patch features in sharded Zarr."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.backbone.vit import pooled
from stego_core.errors import ImageError
from stego_core.images.geometry import crops_with_data, require_patches, training_crops
from tasks.corpus.index import IndexReader
from tasks.engine import machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.features import backbones
from tasks.features.enough_images import CROPS
from tasks.features.image_sample import sampled_rows
from tasks.images.decoding_memory import reading_memory
from tasks.options import LEAST_CROP, FeaturesOptions
from tasks.workspace import arrays, keys, layout
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
"""Raised whenever the same options would give other features."""
SHARD_BYTES = 64 * 2**20
"""Bytes of a shard's patches at most, unless one image has more."""
SHARD_IMAGES = 32
"""Images of a shard at most."""
LEAST_DATA = 0.25
"""Share of a crop's patches that must hold data for the crop to be trained on."""
CPU_CROPS = 8
"""Crops of a batch on a CPU, at least. More do not fit its cache: ViT-S at 224 embeds 8.0,
8.9, 8.9 and 7.2 crops a second and core in batches of 1, 4, 8 and 32 in float32; in bfloat16, with
AMX, 51, 61 and 60 in batches of 4, 8 and 16."""
GPU_CROPS = 128
"""Crops of a batch on a GPU, at least."""


@dataclass(frozen=True)
class FeaturesWork(GpuWork):
    """Decodes, crops and embeds the images of one shard."""

    workspace: Workspace
    path: str
    index: IndexReader
    spec: backbones.BackboneSpec
    options: FeaturesOptions
    shard_images: int
    device: str

    def shard(self, shard: int) -> Record:
        """Features of one shard's images; an unreadable one keeps its rows, marked invalid.

        So does a crop with hardly any data; patches without data are zero.
        """
        watch, storage, crops = Stopwatch(), self.workspace.storage, CROPS[self.options.crops]
        total = arrays.open_array(storage, self.path, "images").shape[0]
        first, last = arrays.shard_span(shard, self.shard_images, total)
        rows = arrays.read_rows(storage, self.path, "images", slice(first, last))
        grid, five = self.options.crop_size // self.spec.patch, crops == 5
        patches = np.zeros((len(rows) * crops, grid, grid, self.spec.channels), np.float16)
        valid = np.zeros(len(patches), np.bool_)
        invalid, with_data = dict[int, str](), dict[int, NDArray[np.bool_]]()
        batch = dict[int, NDArray[np.uint8]]()
        cuda = machine.is_cuda(machine.device(self.device))
        images = watch.each("read", self.index.images(self.index.entries(rows)))
        for number, (_, image) in enumerate(images):
            if isinstance(image, ImageError):
                invalid[int(rows[number])] = str(image)
                continue
            batch[number] = training_crops(image.pixels, self.options.crop_size, five)
            if image.valid is not None:
                with_data[number] = crops_with_data(image.valid, grid, five)
            if len(batch) * crops >= (GPU_CROPS if cuda else CPU_CROPS):
                self._embed(batch, patches, valid, watch)
                batch.clear()
        self._embed(batch, patches, valid, watch)
        for number, patches_with_data in with_data.items():
            image_rows = slice(number * crops, (number + 1) * crops)
            patches[image_rows] *= patches_with_data[..., None]
            valid[image_rows] = patches_with_data.mean(axis=(1, 2)) >= LEAST_DATA
        with watch("write"):
            size, checksum = arrays.write_shard(storage, self.path, "patches", shard, patches)
            arrays.write_shard(storage, self.path, "pooled", shard, pooled(patches))
            arrays.write_shard(storage, self.path, "valid", shard, valid)
        span = (first * crops, last * crops)
        record = Record(shard, span, size, checksum, watch.seconds, invalid)
        return Folder(storage, self.path).record(record)

    def _embed(
        self,
        batch: Mapping[int, NDArray[np.uint8]],
        patches: NDArray[np.float16],
        valid: NDArray[np.bool_],
        watch: Stopwatch,
    ) -> None:
        """Write the features of images' crops, by their number, to their rows of the shard."""
        if not batch:
            return
        crops = CROPS[self.options.crops]
        rows = (np.array(list(batch))[:, None] * crops + np.arange(crops)).ravel()
        with watch("infer"):
            backbone = backbones.load_backbone(self.workspace.storage, self.spec, self.device)
            features = backbone.features(np.concatenate(list(batch.values())))
        patches[rows], valid[rows] = features.astype(np.float16), True


def features_key(options: FeaturesOptions, spec: backbones.BackboneSpec) -> str:
    """Key of a backbone's features; the weights count by their content, not by their path."""
    decided = {"weights": None, "layer": spec.layer, "precision": spec.precision}
    content = options.model_copy(update=decided)
    inputs = {"backbone": spec.digest}
    if spec.precision == "bfloat16":  # of version 1, only the products were
        inputs["bfloat16"] = "weights and activations"
    return keys.key("features", VERSION, content, inputs)


def plan(
    workspace: Workspace,
    dump: str,
    options: FeaturesOptions,
    spec: backbones.BackboneSpec,
    device: str,
) -> Stage | None:
    """Plan a dump's features and create their arrays; None if they are complete.

    Raises:
        OptionError: the crop is not a whole number of patches.
    """
    require_patches("--crop-size", options.crop_size, spec.patch, LEAST_CROP)
    corpus = workspace.corpus(dump).manifest()
    folder = workspace.folder(layout.features(features_key(options, spec), dump))
    folder.plan({"index": corpus["index"], "dump": dump})
    if folder.finished:
        return None
    images = sampled_rows(workspace, dump, options.max_training_images)
    crops, grid = CROPS[options.crops], options.crop_size // spec.patch
    rows, row_bytes = len(images) * crops, grid * grid * spec.channels * 2
    shard_images = int(np.clip(SHARD_BYTES // (crops * row_bytes), 1, SHARD_IMAGES))
    shard_rows, storage = shard_images * crops, workspace.storage
    layouts = {
        "patches": Layout((rows, grid, grid, spec.channels), "float16", shard_rows),
        "pooled": Layout((rows, spec.channels), "float32", shard_rows, shard_rows),
        "valid": Layout((rows,), "bool", shard_rows, shard_rows),
        "images": Layout((len(images),), "int64", max(len(images), 1), max(len(images), 1)),
    }
    arrays.create(storage, folder.path, layouts)
    if not folder.recorded():
        arrays.write_shard(storage, folder.path, "images", 0, images)
    index = IndexReader(workspace, dump)
    work = FeaturesWork(workspace, folder.path, index, spec, options, shard_images, device)
    manifest: dict[str, Any] = {
        "stage": "features",
        "version": VERSION,
        "options": options.model_dump(mode="json", exclude={"weights"}),
        "backbone": spec.document(),
        "dump": dump,
        "index": corpus["index"],
        "images": len(images),
        "crops": crops,
    }
    shards = arrays.shard_count(len(images), shard_images)
    # Whole shard in memory, once more while Zarr encodes it; images before that, one of them also
    # as Pillow resizes it.
    memory = 3 * shard_rows * row_bytes + backbones.backbone_memory(
        spec, max(crops, CPU_CROPS) * grid * grid
    )
    memory += reading_memory(corpus["largest"]) + 4 * corpus["largest"]
    return Stage(folder, f"features {dump}", "crops", rows, shards, work, manifest, memory)
