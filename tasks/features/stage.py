"""Stage features: training crops of the drawn images become patch features in sharded Zarr."""

from collections.abc import Sequence
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
from tasks.engine.steps import Step
from tasks.features import backbones
from tasks.features.image_sample import sampled_rows
from tasks.images.decoding_memory import reading_memory
from tasks.options import LEAST_CROP, FeaturesOptions
from tasks.workspace import arrays, keys, layout
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
SHARD_BYTES = 64 * 2**20
SHARD_IMAGES = 32
LEAST_DATA = 0.25
"""Share of a crop's patches that must hold data for the crop to be trained on."""
CPU_CROPS, GPU_CROPS = 4, 128
"""Crops that go through the backbone together, at least: more do not fit a processor's cache (ViT-S
at 224: 8.0, 8.9, 8.9 and 7.2 crops a second and core in batches of 1, 4, 8 and 32)."""


@dataclass(frozen=True)
class FeaturesWork:
    """Decodes, crops and embeds the images of one shard."""

    workspace: Workspace
    path: str
    index: IndexReader
    spec: backbones.BackboneSpec
    options: FeaturesOptions
    shard_images: int
    device: str

    def steps(self) -> Sequence[Step]:
        """One step, on a GPU where there is one."""
        return [Step(self.shard, gpu=True)]

    @property
    def crops(self) -> int:
        """Rows per image."""
        return crops_per_image(self.options)

    def shard(self, shard: int) -> Record:
        """Features of one shard's images; an unreadable one keeps its rows, marked invalid.

        So does a crop with hardly any data; patches without data are zero.
        """
        watch = Stopwatch()
        storage = self.workspace.storage
        total = arrays.open_array(storage, self.path, "images").shape[0]
        first, last = shard * self.shard_images, min((shard + 1) * self.shard_images, total)
        rows = arrays.read_rows(storage, self.path, "images", slice(first, last))
        grid = self.options.crop_size // self.spec.patch
        shape = (len(rows) * self.crops, grid, grid, self.spec.channels)
        patches, valid = (
            np.zeros(shape, np.float16),
            np.zeros(shape[0], np.bool_),
        )
        invalid: dict[int, str] = {}
        data: dict[int, NDArray[np.bool_]] = {}
        waiting: dict[int, NDArray[np.uint8]] = {}

        def embed() -> None:
            own = [place * self.crops + crop for place in waiting for crop in range(self.crops)]
            if own:
                with watch("infer"):
                    patches[own] = self._embed(np.concatenate(list(waiting.values())))
            valid[own] = True
            for place, there in data.items():
                rows_of = slice(place * self.crops, (place + 1) * self.crops)
                patches[rows_of] *= there[..., None]  # what holds no data is zero
                valid[rows_of] = there.mean(axis=(1, 2)) >= LEAST_DATA
            waiting.clear()
            data.clear()

        images = watch.each("read", self.index.images(self.index.entries(rows)))
        for place, (_, image) in enumerate(images):
            if isinstance(image, ImageError):
                invalid[int(rows[place])] = str(image)
                continue
            five = self.options.crops == "five"
            waiting[place] = training_crops(image.pixels, self.options.crop_size, five)
            if image.valid is not None:
                data[place] = crops_with_data(image.valid, grid, five)
            if len(waiting) * self.crops >= self.together:
                embed()
        embed()
        with watch("write"):
            size, checksum = arrays.write_shard(storage, self.path, "patches", shard, patches)
            arrays.write_shard(storage, self.path, "pooled", shard, pooled(patches))
            arrays.write_shard(storage, self.path, "valid", shard, valid)
        span = (first * self.crops, last * self.crops)
        record = Record(shard, span, size, checksum, watch.seconds, invalid)
        Folder(storage, self.path).record(record)
        return record

    @property
    def together(self) -> int:
        """Crops that make a batch."""
        return GPU_CROPS if machine.is_cuda(machine.device(self.device)) else CPU_CROPS

    def _embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float16]:
        backbone = backbones.load_backbone(self.workspace.storage, self.spec, self.device)
        return backbone.features(crops).astype(np.float16)


def crops_per_image(options: FeaturesOptions) -> int:
    """Feature rows of one image."""
    return 5 if options.crops == "five" else 1


def features_key(options: FeaturesOptions, spec: backbones.BackboneSpec) -> str:
    """Key of a backbone's features; the weights count by their content, not by their path."""
    decided = {"weights": None, "layer": spec.layer, "precision": spec.precision}
    content = options.model_copy(update=decided)
    return keys.key("features", VERSION, content, {"backbone": spec.digest})


def plan(
    workspace: Workspace,
    dump: str,
    options: FeaturesOptions,
    spec: backbones.BackboneSpec,
    device: str,
) -> Stage | None:
    """Create the arrays of a dump's features; None if they are complete.

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
    crops, grid = crops_per_image(options), options.crop_size // spec.patch
    rows = len(images) * crops
    row_bytes = grid * grid * spec.channels * 2
    shard_images = int(np.clip(SHARD_BYTES // (crops * row_bytes), 1, SHARD_IMAGES))
    shard_rows = shard_images * crops
    storage = workspace.storage
    layouts = {
        "patches": Layout((rows, grid, grid, spec.channels), "float16", shard_rows),
        "pooled": Layout((rows, spec.channels), "float32", shard_rows, shard_rows),
        "valid": Layout((rows,), "bool", shard_rows, shard_rows),
        "images": Layout((len(images),), "int64", max(len(images), 1), max(len(images), 1)),
    }
    arrays.create(storage, folder.path, layouts)
    if not folder.recorded():
        arrays.write_shard(storage, folder.path, "images", 0, images)
    work = FeaturesWork(
        workspace,
        folder.path,
        IndexReader(workspace, dump),
        spec,
        options,
        shard_images,
        device,
    )
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
    title = f"features {dump}"
    return Stage(folder, title, "crops", rows, shards, work, manifest, memory)
