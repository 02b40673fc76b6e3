"""Options of every stage: one model each, which the command line and Prefect's forms both show."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

from stego_core.errors import OptionError
from stego_core.geometry import require_patches
from stego_core.shifts import Calibration, calibration
from stego_core.valuerange import parsed_bands, parsed_range


class Options(BaseModel):
    """Frozen options that refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReadOptions(Options):
    """What is taken from the files of a dump."""

    max_pixels: int = Field(
        128_000_000, gt=0, description="Pixels above which an image is quarantined as a bomb."
    )
    fps: float = Field(1.0, gt=0, le=240, description="Frames per second taken from videos.")
    bands: str | None = Field(
        None,
        description="Bands, from 1, that become red, green and blue, such as 4,3,2, or the one "
        "that becomes grey; default: as the files say, else the first three or the first.",
    )
    value_range: str = Field(
        "auto",
        description="Values that become black and white. auto: eight bits as they are, all that "
        "the files' bits hold where their values use it, else those of the whole corpus; file: as "
        "the files state it, else all that their bits hold; or two numbers such as 0,3000.",
    )

    @model_validator(mode="after")
    def _values_mean_something(self) -> "ReadOptions":
        parsed_bands(self.bands)
        parsed_range(self.value_range)
        return self


class CorpusOptions(ReadOptions):
    """Which images, and what is known about them."""

    images: str = Field(
        description="Folder or URI of images and videos, searched recursively, or one video."
    )
    labels: str | None = Field(
        None,
        description="Folder or URI of label images (same relative path and stem, perhaps the "
        "images' own folder), or a COCO JSON file.",
    )
    taxonomy: str | None = Field(
        None,
        description="JSON file of class names, void id, and where wanted colours or a "
        "fine-to-coarse table.",
    )
    image_suffix: str | None = Field(
        None,
        description="What the name of an image has beyond what it shares with its label, such as "
        "_leftImg8bit.",
    )
    label_suffix: str | None = Field(
        None,
        description="What the name of a label has beyond it, such as _gtFine_labelIds; other "
        "files under --labels are then no labels. Without --labels they lie among the images.",
    )
    pages: Literal["first", "all"] = Field(
        "first", description="Of TIFFs with several pages: the first, or each as an image."
    )

    def suffixes(self) -> dict[str, str]:
        """The suffixes that are given."""
        given = {"image_suffix": self.image_suffix, "label_suffix": self.label_suffix}
        return {name: suffix for name, suffix in given.items() if suffix}


class InboxOptions(ReadOptions):
    """Where dumps arrive, each in a folder of its own."""

    inbox: str = Field(description="Folder or URI whose every new folder is a dump.")
    quiet_minutes: float = Field(
        0.0,
        ge=0,
        description="Leave folders of the inbox alone that changed within so many minutes.",
    )


BACKBONE_HINT = (
    "Any timm vision transformer, by name: vit_small_patch16_224.dino, vit_base_patch8_224.dino, "
    "vit_small_patch14_reg4_dinov2, vit_small_patch16_dinov3, …"
)
LEAST_CROP, LEAST_GLOBAL, LEAST_LOCAL = 32, 16, 8
"""Smallest sides of a crop and of views, pixels."""


class FeaturesOptions(Options):
    """What the backbone sees and which of its layers is read."""

    backbone: str = Field("vit_small_patch16_224.dino", description=BACKBONE_HINT)
    weights: str | None = Field(
        None,
        description="Weights file (.pth or .safetensors, path or URI; timm's or the published "
        "names), 'untrained' for seeded random ones, or 'bundled' for the demo's; default: timm's "
        "own, downloaded.",
    )
    layer: int | None = Field(
        None, ge=0, description="0-based block whose patch tokens are read; default: the last."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Of the backbone's products; auto: bfloat16 where this machine's GPU or CPU "
        "computes in it, or a cluster's GPU.",
    )
    crops: Literal["five", "whole"] = Field(
        "five", description="Training crops: five half-size ones of each image, or the whole."
    )
    crop_size: int = Field(
        224,
        ge=LEAST_CROP,
        description="Side of a training crop, pixels. A multiple of the backbone's patch.",
    )
    max_training_images: int = Field(
        100_000, ge=1, description="Images that features are kept for; drawn by a hash of the id."
    )


class PretrainOptions(Options):
    """Self-distillation of a backbone (DINO, Caron et al. 2021)."""

    backbone: str = Field("vit_small_patch16_224", description=BACKBONE_HINT)
    weights: str | None = Field(
        None,
        description="Weights to start from: a file (.pth or .safetensors, path or URI), or 'timm' "
        "for timm's own, downloaded; default: random ones, from scratch.",
    )
    steps: int = Field(20_000, ge=1, description="Optimiser steps.")
    batch: int = Field(64, ge=2, description="Images per step.")
    global_size: int = Field(
        224,
        ge=LEAST_GLOBAL,
        description="Side of the two global views, pixels. A multiple of the backbone's patch.",
    )
    local_size: int = Field(
        96,
        ge=LEAST_LOCAL,
        description="Side of the local views, pixels. A multiple of the backbone's patch.",
    )
    local_views: int = Field(6, ge=0, description="Local views per image.")
    window: str = Field(
        "1,1",
        description="Share of an image's area that all its views are cut from, least and "
        "greatest; below 1 for images with many things in them.",
    )
    global_scale: str = Field(
        "0.4,1", description="Share of that area in a global view, least and greatest."
    )
    local_scale: str = Field(
        "0.05,0.4", description="Share of that area in a local view, least and greatest."
    )
    colour: float = Field(1.0, ge=0, le=2, description="Strength of the colour jitter.")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="AdamW's learning rate at its peak.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which it rises.")
    weight_decay: str = Field("0.04,0.4", description="Weight decay at the start and at the end.")
    momentum: float = Field(
        0.996, ge=0, lt=1, description="Momentum of the teacher at the start; 1 at the end."
    )
    teacher_temperature: str = Field(
        "0.04,0.07", description="Temperature of the teacher at the start and after its warm-up."
    )
    temperature_warmup: float = Field(
        0.3, ge=0, le=1, description="Share of the steps in which that temperature rises."
    )
    prototypes: int = Field(4096, ge=2, description="Outputs K of the projection heads.")
    hidden: int = Field(2048, ge=1, description="Width of the projection heads.")
    bottleneck: int = Field(256, ge=1, description="Width before the prototypes.")
    dense_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the patches' term in the loss: the same place in the two global "
        "views. 0: images only, as in DINO.",
    )
    dense_points: int = Field(64, ge=1, description="Places per image in the patches' term.")
    dense_reach: float = Field(
        0.12,
        ge=0,
        le=1,
        description="How far a place's partner in the other view lies from it, standard deviation "
        "as a share of the view's side: what is near is mostly the same thing. 0: the same place.",
    )
    frozen: float = Field(
        0.01, ge=0, le=1, description="Share of the steps in which the prototypes stand still."
    )
    clip: float = Field(3.0, gt=0, description="Greatest norm of the gradient.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the products; auto: bfloat16 where GPU or CPU computes in it."
    )
    image_side: int = Field(
        512, ge=16, description="Short side at which images are held, pixels; larger are shrunk."
    )
    seed: int = Field(0, ge=0, description="Seed of weights, draws and views.")
    threads: int | None = Field(
        None, ge=1, description="CPU threads; default: one per core. Changes only rounding."
    )
    image_memory: int = Field(
        2048, ge=0, description="MiB of decoded images held in memory; above: decoded again."
    )
    checkpoint_steps: int = Field(500, ge=1, description="Steps between checkpoints.")
    quality_steps: int = Field(
        500, ge=1, description="Steps between label-free figures of the features."
    )

    def content(self) -> "PretrainOptions":
        """The options that the outcome depends on; the others at their defaults."""
        indifferent = ("weights", "threads", "image_memory", "checkpoint_steps", "quality_steps")
        defaults = {name: type(self).model_fields[name].default for name in indifferent}
        return self.model_copy(update=defaults)

    @model_validator(mode="after")
    def _spans_are_spans(self) -> "PretrainOptions":
        self.check_spans()
        return self

    def span(self, name: str) -> tuple[float, float]:
        """Two numbers of an option such as "0.4,1".

        Raises:
            OptionError: it is something else.
        """
        value = getattr(self, name)
        try:
            first, last = (float(part) for part in value.split(","))
        except ValueError:
            raise OptionError(
                f"--{name.replace('_', '-')} {value!r} is not two numbers; write for example 0.4,1"
            ) from None
        return first, last

    def check(self, patch: int) -> None:
        """Refuse what means nothing, before any work is done.

        Raises:
            OptionError: a view is not a whole number of patches, or a span is no span.
        """
        require_patches("--global-size", self.global_size, patch, LEAST_GLOBAL)
        if self.local_views:
            require_patches("--local-size", self.local_size, patch, LEAST_LOCAL)
        self.check_spans()

    def check_spans(self) -> None:
        """Refuse two numbers that are no span.

        Raises:
            OptionError: names the option.
        """
        for name in ("window", "global_scale", "local_scale"):
            least, greatest = self.span(name)
            if not 0 < least <= greatest <= 1:
                raise OptionError(
                    f"--{name.replace('_', '-')} {least:g},{greatest:g} are not two shares of an "
                    "area in (0, 1], the least first"
                )
        for name, least in (("weight_decay", 0.0), ("teacher_temperature", 1e-4)):
            first, last = self.span(name)
            if not (least <= first < math.inf and least <= last < math.inf):
                raise OptionError(
                    f"--{name.replace('_', '-')} {first:g},{last:g} are not two numbers of at "
                    f"least {least:g}"
                )


class NeighborsOptions(Options):
    """The table of nearest neighbours."""

    k: int = Field(30, ge=2, description="Neighbours stored per crop, itself included.")
    search: Literal["exact", "approximate"] = Field(
        "exact",
        description="exact: the true neighbours; approximate: each crop is compared with the few "
        "lists of similar crops that hold at least 98 % of the first seven neighbours of a sample, "
        "for a small part of the time, above all where crops do not fall into clear groups. Among "
        "fewer than 32,768 crops both are exact.",
    )


class HeadOptions(Options):
    """Training of the head."""

    recipe: Literal["mean-shift", "stego"] = Field(
        "mean-shift",
        description="mean-shift: the features of each image are drawn together before the head "
        "reads them, and large things drawn less often; stego: the published recipe.",
    )
    shifts: str = Field(
        "auto",
        description="auto (measured on the features), three numbers self,knn,rand, or a preset: "
        "cocostuff27-s8, cocostuff27-b8, cityscapes27-b8, potsdam3-s8.",
    )
    steps: int = Field(400, ge=1, description="Optimiser steps.")
    batch: int = Field(16, ge=2, description="Images per step.")
    code_size: int = Field(70, ge=2, description="Depth of the codes.")
    grid: int = Field(11, ge=2, description="grid² tokens of each image take part in a step.")
    learning_rate: float = Field(5e-4, gt=0, description="Adam's learning rate.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Probability of dropping a channel.")
    seed: int = Field(0, ge=0, description="Seed of weights and draws.")

    @model_validator(mode="after")
    def _shifts_mean_something(self) -> "HeadOptions":
        self.calibration()
        return self

    def calibration(self) -> Calibration:
        """What `shifts` means.

        Raises:
            OptionError: it means nothing.
        """
        try:
            numbers = [float(number) for number in self.shifts.split(",")]
        except ValueError:
            return calibration(self.shifts)
        if not all(math.isfinite(number) for number in numbers):
            raise OptionError(f"--shifts {self.shifts} are not three finite numbers")
        return calibration(numbers)


class ClustersOptions(Options):
    """k-means over the codes."""

    classes: Annotated[int, Field(ge=2, le=255)] | Literal["auto"] | None = Field(
        None,
        description="Clusters K, or auto: as many as are stable; default: the taxonomy's classes, "
        "else 16.",
    )
    max_classes: int = Field(
        32, ge=3, le=255, description="The largest K that --classes auto considers."
    )
    restarts: int = Field(10, ge=1, description="Independent starts; the lowest inertia wins.")
    max_tokens: int = Field(200_000, ge=256, description="Codes drawn for clustering.")
    seed: int = Field(0, ge=0, description="Seed of the draw and the starts.")


class MasksOptions(Options):
    """How images are labelled."""

    resolution: int = Field(
        448,
        ge=32,
        description="Short side that the backbone sees, pixels, rounded to whole patches; 448 is "
        "the scale of five-crops at 224. STEGO evaluates at 320.",
    )
    tile: int = Field(
        640,
        ge=64,
        description="Window that the backbone sees at once, pixels, rounded down to whole patches.",
    )
    tile_overlap: int = Field(
        160, ge=0, description="Overlap of those windows, pixels, rounded down to whole patches."
    )
    sharpness: float = Field(
        1.0,
        gt=0,
        description="Factor of the cosine before the softmax over clusters; STEGO: 2. Smaller "
        "lets the CRF smooth more.",
    )
    crf_iterations: int = Field(10, ge=0, description="Mean-field iterations; 0 turns it off.")
    crf_tile: int = Field(1024, ge=64, description="Window of the CRF at full size, pixels.")
    crf_overlap: int = Field(128, ge=0, description="Overlap of those windows, pixels.")
    overlays: bool = Field(True, description="Also write each mask blended over its image.")
    smooth_frames: int = Field(
        0,
        ge=0,
        le=16,
        exclude_if=lambda frames: frames == 0,  # masks from before the option keep their keys
        description="Neighbouring frames of a video, on each side, that a frame's codes are "
        "averaged with where the image hardly changes; 0 turns it off.",
    )

    @model_validator(mode="after")
    def _windows_move_on(self) -> "MasksOptions":
        for tile, side, overlap, shared in (
            ("--tile", self.tile, "--tile-overlap", self.tile_overlap),
            ("--crf-tile", self.crf_tile, "--crf-overlap", self.crf_overlap),
        ):
            if side <= shared:
                raise OptionError(
                    f"{tile} {side} is not larger than {overlap} {shared}; give a larger window "
                    "or a smaller overlap"
                )
        return self


class ScoresOptions(Options):
    """What is measured where there are labels."""

    baseline: bool = Field(
        True, description="Also score k-means on the raw features, restarts and CRF alike."
    )
    linear_probe: bool = Field(True, description="Also score a linear probe of the codes.")
    probe_protocol: Literal["quick", "stego"] = Field(
        "quick",
        description="quick: the probe is fitted to a draw of tokens and scored without CRF; stego: "
        "to every pixel's label, for the head's steps and batches, and scored with the CRF.",
    )
    seeds: str | None = Field(
        None,
        description="Seeds such as 0,1,2,3,4: head, clusters, masks and scores are also made from "
        "each of them, and the spread of the figures is told.",
    )

    @model_validator(mode="after")
    def _seeds_are_numbers(self) -> "ScoresOptions":
        self.seed_list()
        return self

    def seed_list(self) -> list[int]:
        """The seeds, each once, in the order given.

        Raises:
            OptionError: they are not whole numbers of at least 0.
        """
        parts = [part.strip() for part in self.seeds.split(",")] if self.seeds else []
        if not all(part.isdecimal() for part in parts):
            raise OptionError(
                f"--seeds {self.seeds!r} are not whole numbers separated by commas; write for "
                "example 0,1,2,3,4"
            )
        return list(dict.fromkeys(int(part) for part in parts))


ExportFormat = Literal["masks", "coco", "voc", "cvat", "labelstudio", "geotiff", "geojson", "video"]
"""What `stego export` writes."""


class ExportOptions(Options):
    """What an export holds beyond its masks; each option is for some formats only."""

    instances: bool = Field(
        False,
        description="coco, cvat, labelstudio: an object for each connected part of a class "
        "instead of one for the whole class.",
    )
    min_area: int = Field(
        1,
        ge=1,
        description="coco, cvat, labelstudio, geojson: objects of fewer pixels are left out.",
    )
    with_images: bool = Field(
        False, description="coco, cvat, voc: the images themselves, upright, beside their masks."
    )
    document_root: str = Field(
        "/",
        description="labelstudio: the folder that Label Studio serves local files from, its "
        "LOCAL_FILES_DOCUMENT_ROOT.",
    )


class StorageOptions(Options):
    """How object storage is reached, beyond the standard AWS variables and files."""

    endpoint: str | None = Field(
        None, description="URL of the S3 service; default: AWS_ENDPOINT_URL, else AWS itself."
    )
    region: str | None = Field(None, description="S3 region; default: AWS_DEFAULT_REGION.")
    profile: str | None = Field(
        None, description="Profile of the AWS credentials file; default: AWS_PROFILE."
    )
    wait: float = Field(
        3600.0,
        ge=0,
        description="Seconds to queue behind another run that writes the same workspace.",
    )
    report_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Address at which a web server shows the workspace's files, such as "
        "https://reports.example.org/ws; links to reports begin with it.",
    )


class ComputeOptions(Options):
    """Where and how the work runs; changes no result."""

    executor: Literal["dask", "loop"] = Field(
        "dask", description="dask: worker processes; loop: one after another in this process."
    )
    cluster: str = Field(
        "local", description="local, or the address of a Dask scheduler (tcp://host:port)."
    )
    workers: int | None = Field(
        None, ge=1, description="Local worker processes; default: one per core."
    )
    memory_limit: ByteSize | None = Field(
        None,
        ge=256 * 2**20,
        description="Memory of each local worker, such as 4GiB; one that holds 95 % of it is "
        "restarted and its shard given to another. Default: unlimited.",
    )
    device: str = Field("auto", description="Torch device; auto: cuda if there is one, else cpu.")
    feature_memory: int = Field(
        1024, ge=0, description="MiB of features held in memory while training; above: streamed."
    )
