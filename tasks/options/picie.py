"""Options of PiCIE, the baseline of `--baseline picie`."""

from pydantic import Field, field_validator

from stego_core.errors import OptionError
from tasks.options.base import Options

LEAST_SIZE = 64
"""Pixels of a view's side at least: with fewer, the network's coarsest map is one cell, which has
no variance for a step of one image to normalise by."""


class PicieOptions(Options):
    """PiCIE, the baseline of --baseline picie (Cho et al. 2021)."""

    network: str = Field(
        "resnet18.tv_in1k",
        description="This is timm's name of PiCIE's ResNet, with the tag of its weights.",
    )
    weights: str | None = Field(
        None,
        description="PiCIE's ResNet starts from this file (.pth or .safetensors, path or URI), or "
        "from random weights with 'untrained'. By default it starts from timm's weights, which "
        "were trained with ImageNet's labels, as published.",
    )
    epochs: int = Field(10, ge=1, description="PiCIE clusters and trains this many times.")
    steps: int | None = Field(
        None,
        ge=1,
        description="PiCIE takes this many steps an epoch, and clusters only the images of those. "
        "By default an epoch sees each image.",
    )
    size: int = Field(
        320,
        ge=LEAST_SIZE,
        description="PiCIE's views, and the short sides of images that it labels, have this many "
        "pixels, a multiple of 4; views are cut from squares of twice that side.",
    )
    batch: int = Field(128, ge=1, description="A training step of PiCIE sees this many images.")
    cluster_batch: int = Field(
        256, ge=1, description="A step of PiCIE's mini-batch k-means sees this many images."
    )
    start_batches: int = Field(
        20, ge=1, description="PiCIE's k-means is started from this many of those batches."
    )
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Adam's learning rate for PiCIE.")
    seed: int = Field(0, ge=0, description="PiCIE's weights, order and views come from this seed.")
    threads: int | None = Field(
        None,
        ge=1,
        description="PiCIE trains on this many CPU threads, by default one per core. This changes "
        "only rounding.",
    )
    image_memory: int = Field(
        2048,
        ge=0,
        description="PiCIE holds this many MiB of decoded images in memory; above that they are "
        "decoded again.",
    )
    checkpoint_steps: int = Field(
        100, ge=1, description="PiCIE writes a checkpoint every this many steps."
    )

    @field_validator("size")
    @classmethod
    def _whole_cells(cls, size: int) -> int:
        if size % 4:
            raise OptionError(f"--picie-size {size} is not a multiple of 4; use {size // 4 * 4}")
        return size

    def content(self) -> "PicieOptions":
        """The options that the outcome depends on; the others at their defaults."""
        indifferent = ("weights", "threads", "image_memory", "checkpoint_steps")
        defaults = {name: type(self).model_fields[name].default for name in indifferent}
        return self.model_copy(update=defaults)
