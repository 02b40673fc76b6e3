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
        128_000_000,
        gt=0,
        description="An image of more pixels is quarantined, as it may be a decompression bomb.",
    )
    fps: float = Field(
        1.0, gt=0, le=240, description="This many frames per second are taken from videos."
    )
    bands: str | None = Field(
        None,
        description="These bands, counted from 1, become red, green and blue, such as 4,3,2, or "
        "this one becomes grey. By default it is as the files say, else the first "
        "three or the first.",
    )
    value_range: str = Field(
        "auto",
        description="These values become black and white. With auto, eight bits stay as they "
        "are, others span all that the files' bits hold where their values use it, "
        "else what the whole corpus holds; with file, they span what the files "
        "state, else all that their bits hold; or two numbers are given, such as "
        "0,3000.",
    )

    @model_validator(mode="after")
    def _values_mean_something(self) -> "ReadOptions":
        parsed_bands(self.bands)
        parsed_range(self.value_range)
        return self


class CorpusOptions(ReadOptions):
    """Which images, and what is known about them."""

    images: str = Field(
        description="This is a folder or URI of images and videos, which is searched "
        "recursively, or one image or video."
    )
    labels: str | None = Field(
        None,
        description="This is a folder or URI of label images (same relative path and stem; it "
        "may be the images' own folder), or a COCO JSON file.",
    )
    taxonomy: str | None = Field(
        None,
        description="This JSON file holds the class names, the void id and, where wanted, "
        "colours or a fine-to-coarse table.",
    )
    image_suffix: str | None = Field(
        None,
        description="This is what the name of an image has beyond what it shares with its label, "
        "such as _leftImg8bit.",
    )
    label_suffix: str | None = Field(
        None,
        description="This is what the name of a label has beyond what it shares with its image, "
        "such as _gtFine_labelIds; other files under --labels are then no labels. "
        "Without --labels, labels lie among the images.",
    )
    pages: Literal["first", "all"] = Field(
        "first",
        description="Of a TIFF with several pages, the first becomes an image, or each of them "
        "does.",
    )

    def suffixes(self) -> dict[str, str]:
        """The suffixes that are given."""
        given = {"image_suffix": self.image_suffix, "label_suffix": self.label_suffix}
        return {name: suffix for name, suffix in given.items() if suffix}


class InboxOptions(ReadOptions):
    """Where dumps arrive, each in a folder of its own."""

    inbox: str = Field(description="Every new folder of this folder or URI is a dump.")
    quiet_minutes: float = Field(
        0.0,
        ge=0,
        description="Folders of the inbox that changed within this many minutes are left alone.",
    )


BACKBONE_HINT = (
    "This names any vision transformer of timm: vit_small_patch16_224.dino, "
    "vit_base_patch8_224.dino, vit_small_patch14_reg4_dinov2, vit_small_patch16_dinov3, and others."
)
LEAST_CROP, LEAST_GLOBAL, LEAST_LOCAL = 32, 16, 8
"""Smallest sides of a crop and of views, pixels."""


class FeaturesOptions(Options):
    """What the backbone sees and which of its layers is read."""

    backbone: str = Field("vit_small_patch16_224.dino", description=BACKBONE_HINT)
    weights: str | None = Field(
        None,
        description="This is a weights file (.pth or .safetensors, path or URI; timm's or the "
        "published names), 'untrained' for seeded random ones, or 'bundled' for the "
        "demo's. By default timm's own are downloaded.",
    )
    layer: int | None = Field(
        None,
        ge=0,
        description="The patch tokens of this block are read, counted from 0. By default it is "
        "the last one.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="The backbone computes its products in this type. With auto it is bfloat16 "
        "where this machine's GPU or CPU, or a cluster's GPU, computes in it.",
    )
    crops: Literal["five", "whole"] = Field(
        "five", description="Training sees five half-size crops of each image, or the whole image."
    )
    crop_size: int = Field(
        224,
        ge=LEAST_CROP,
        description="A training crop has sides of this many pixels, which must be a multiple of "
        "the backbone's patch.",
    )
    max_training_images: int = Field(
        100_000,
        ge=1,
        description="Features are kept for at most this many images, which are drawn by a hash "
        "of their ids.",
    )


class PretrainOptions(Options):
    """Self-distillation of a backbone (DINO, Caron et al. 2021)."""

    backbone: str = Field("vit_small_patch16_224", description=BACKBONE_HINT)
    weights: str | None = Field(
        None,
        description="Training starts from this file (.pth or .safetensors, path or URI), or from "
        "timm's own weights with 'timm'. By default it starts from scratch.",
    )
    steps: int = Field(20_000, ge=1, description="The optimiser takes this many steps.")
    batch: int = Field(64, ge=2, description="A step sees this many images.")
    global_size: int = Field(
        224,
        ge=LEAST_GLOBAL,
        description="The two global views have sides of this many pixels, which must be a "
        "multiple of the backbone's patch.",
    )
    local_size: int = Field(
        96,
        ge=LEAST_LOCAL,
        description="The local views have sides of this many pixels, which must be a multiple of "
        "the backbone's patch.",
    )
    local_views: int = Field(6, ge=0, description="Each image has this many local views.")
    window: str = Field(
        "1,1",
        description="All views of an image are cut from a part of it that covers this share of "
        "its area, least and greatest; a share below 1 suits images with many things "
        "in them.",
    )
    global_scale: str = Field(
        "0.4,1", description="A global view covers this share of that area, least and greatest."
    )
    local_scale: str = Field(
        "0.05,0.4", description="A local view covers this share of that area, least and greatest."
    )
    colour: float = Field(1.0, ge=0, le=2, description="The colour jitter has this strength.")
    learning_rate: float = Field(
        5e-4, gt=0, le=1, description="AdamW's learning rate peaks at this value."
    )
    warmup: float = Field(
        0.1, ge=0, lt=1, description="The learning rate rises in this share of the steps."
    )
    weight_decay: str = Field(
        "0.04,0.4", description="These are the weight decay at the start and at the end."
    )
    momentum: float = Field(
        0.996,
        ge=0,
        lt=1,
        description="The teacher has this momentum at the start; it is 1 at the end.",
    )
    teacher_temperature: str = Field(
        "0.04,0.07",
        description="These are the teacher's temperatures at the start and after its warm-up.",
    )
    temperature_warmup: float = Field(
        0.3, ge=0, le=1, description="That temperature rises in this share of the steps."
    )
    prototypes: int = Field(
        4096, ge=2, description="The projection heads have this many outputs K."
    )
    hidden: int = Field(2048, ge=1, description="The projection heads have this width.")
    bottleneck: int = Field(256, ge=1, description="They have this width before the prototypes.")
    dense_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="The patches' term, which compares the same place in the two global views, "
        "has this share of the loss; with 0 only images count, as in DINO.",
    )
    dense_points: int = Field(
        64, ge=1, description="The patches' term compares this many places of each image."
    )
    dense_reach: float = Field(
        0.12,
        ge=0,
        le=1,
        description="A place's partner in the other view lies this far from it (standard "
        "deviation, as a share of the view's side), since what is near is mostly the "
        "same thing; with 0 it is the same place.",
    )
    frozen: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The prototypes stand still in this share of the steps, at the start.",
    )
    clip: float = Field(3.0, gt=0, description="The gradient's norm is clipped to this value.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Products are computed in this type. With auto it is bfloat16 where GPU or "
        "CPU computes in it.",
    )
    image_side: int = Field(
        512,
        ge=16,
        description="Images are held with a short side of at most this many pixels; larger ones "
        "are shrunk.",
    )
    seed: int = Field(0, ge=0, description="Weights, draws and views come from this seed.")
    threads: int | None = Field(
        None,
        ge=1,
        description="Training runs on this many CPU threads, by default one per core. This "
        "changes only rounding.",
    )
    image_memory: int = Field(
        2048,
        ge=0,
        description="This many MiB of decoded images are held in memory; above that they are "
        "decoded again.",
    )
    checkpoint_steps: int = Field(
        500, ge=1, description="A checkpoint is written every this many steps."
    )
    quality_steps: int = Field(
        500, ge=1, description="Label-free figures of the features are taken every this many steps."
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

    k: int = Field(
        30, ge=2, description="This many neighbours are stored per crop, itself included."
    )
    search: Literal["exact", "approximate"] = Field(
        "approximate",
        description="With exact, each crop is compared with all others, on a GPU where there is "
        "one. With approximate, each crop is compared with the few lists of similar crops that "
        "hold at least 98 % of the first seven neighbours of a sample, for a small part of the "
        "time. Among fewer than 32,768 crops both are exact.",
    )


class HeadOptions(Options):
    """Training of the head."""

    recipe: Literal["mean-shift", "stego"] = Field(
        "mean-shift",
        description="With mean-shift, the features of each image are drawn together before the "
        "head reads them, and large things are drawn less often; stego is the "
        "published recipe.",
    )
    shifts: str = Field(
        "auto",
        description="The loss's shifts are measured on the features (auto), or given as three "
        "numbers self,knn,rand or as a preset: cocostuff27-s8, cocostuff27-b8, "
        "cityscapes27-b8, potsdam3-s8.",
    )
    steps: int = Field(400, ge=1, description="The optimiser takes this many steps.")
    batch: int = Field(16, ge=2, description="A step sees this many images.")
    code_size: int = Field(70, ge=2, description="A code has this many numbers.")
    grid: int = Field(
        11,
        ge=2,
        description="The square of this number is how many tokens of each image take part in a "
        "step.",
    )
    learning_rate: float = Field(5e-4, gt=0, description="This is Adam's learning rate.")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="A channel is dropped with this probability."
    )
    seed: int = Field(0, ge=0, description="Weights and draws come from this seed.")

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
        description="k-means makes this many clusters K, or with auto as many as are stable. By "
        "default they are as many as the taxonomy's classes, else 16.",
    )
    max_classes: int = Field(
        32, ge=3, le=255, description="This is the largest K that --classes auto considers."
    )
    restarts: int = Field(
        10,
        ge=1,
        description="k-means starts this many times, independently; the lowest inertia wins.",
    )
    max_tokens: int = Field(
        200_000, ge=256, description="This many codes are drawn for clustering."
    )
    seed: int = Field(0, ge=0, description="The draw and the starts come from this seed.")


class MasksOptions(Options):
    """How images are labelled."""

    resolution: int = Field(
        448,
        ge=32,
        description="The backbone sees images with a short side of this many pixels, rounded to "
        "whole patches; 448 is the scale of five-crops at 224. STEGO evaluates at "
        "320.",
    )
    tile: int = Field(
        640,
        ge=64,
        description="The backbone sees windows of this many pixels at once, rounded down to "
        "whole patches.",
    )
    tile_overlap: int = Field(
        160,
        ge=0,
        description="Those windows overlap by this many pixels, rounded down to whole patches.",
    )
    sharpness: float = Field(
        1.0,
        gt=0,
        description="The cosine is multiplied by this factor before the softmax over clusters "
        "(STEGO: 2); a smaller one lets the CRF smooth more.",
    )
    crf_engine: Literal["lattice", "pydensecrf"] = Field(
        "lattice",
        exclude_if=lambda engine: engine == "lattice",  # masks from before the option keep keys
        description="This computes the CRF: lattice, which comes with this package, or pydensecrf, "
        "the implementation of its authors, which takes twice the time and memory.",
    )
    crf_iterations: int = Field(
        10, ge=0, description="The CRF takes this many mean-field iterations; 0 turns it off."
    )
    crf_tile: int = Field(
        1024, ge=64, description="The CRF sees windows of this many pixels at full size."
    )
    crf_overlap: int = Field(
        128, ge=0, description="The CRF's windows overlap by this many pixels."
    )
    overlays: bool = Field(True, description="Each mask is also written blended over its image.")
    smooth_frames: int = Field(
        0,
        ge=0,
        le=16,
        exclude_if=lambda frames: frames == 0,  # masks from before the option keep their keys
        description="A frame's codes are averaged with those of this many neighbouring frames of "
        "its video on each side where the image hardly changes; 0 turns it off.",
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
        True,
        description="k-means on the raw features is scored too, with the same restarts and CRF.",
    )
    linear_probe: bool = Field(True, description="A linear probe of the codes is scored too.")
    probe_protocol: Literal["quick", "stego"] = Field(
        "quick",
        description="With quick, the probe is fitted to a draw of tokens and scored without CRF; "
        "with stego, it is fitted to every pixel's label, for the head's steps and "
        "batches, and scored with the CRF.",
    )
    seeds: str | None = Field(
        None,
        description="Head, clusters, masks and scores are also made from each of these seeds, "
        "such as 0,1,2,3,4, and the spread of the figures is told.",
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
        description="Each connected part of a class becomes an object, instead of one for the "
        "whole class (coco, cvat, labelstudio).",
    )
    min_area: int = Field(
        1,
        ge=1,
        description="Objects of fewer pixels are left out (coco, cvat, labelstudio, geojson).",
    )
    with_images: bool = Field(
        False,
        description="The images themselves are written too, upright, beside their masks (coco, "
        "cvat, voc).",
    )
    document_root: str = Field(
        "/",
        description="Label Studio serves local files from this folder, its "
        "LOCAL_FILES_DOCUMENT_ROOT (labelstudio).",
    )


class StorageOptions(Options):
    """How object storage is reached, beyond the standard AWS variables and files."""

    endpoint: str | None = Field(
        None,
        description="The S3 service answers at this URL. By default it is AWS_ENDPOINT_URL, else "
        "AWS itself.",
    )
    region: str | None = Field(
        None, description="The bucket lies in this S3 region. By default it is AWS_DEFAULT_REGION."
    )
    profile: str | None = Field(
        None,
        description="Credentials come from this profile of the AWS credentials file. By default "
        "it is AWS_PROFILE.",
    )
    wait: float = Field(
        3600.0,
        ge=0,
        description="A run queues for this many seconds behind another one that writes the same "
        "workspace.",
    )
    report_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="A web server shows the workspace's files at this address, such as "
        "https://reports.example.org/ws; links to reports begin with it.",
    )


class ComputeOptions(Options):
    """Where and how the work runs; changes no result."""

    executor: Literal["dask", "loop"] = Field(
        "dask",
        description="With dask, worker processes do the work; with loop, this process does it, "
        "one shard after another.",
    )
    cluster: str = Field(
        "local",
        description="Workers are local, or those of a Dask scheduler at this address "
        "(tcp://host:port).",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="This many local worker processes are started, by default one per core.",
    )
    memory_limit: ByteSize | None = Field(
        None,
        ge=256 * 2**20,
        description="Each local worker may hold this much memory, such as 4GiB; one that holds "
        "95 % of it is restarted and its shard given to another. By default there is "
        "no limit.",
    )
    device: str = Field(
        "auto", description="Torch computes on this device; auto is cuda if there is one, else cpu."
    )
    feature_memory: int = Field(
        1024,
        ge=0,
        description="This many MiB of features are held in memory while training; above that "
        "they are streamed.",
    )
