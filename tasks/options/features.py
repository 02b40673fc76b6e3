"""Options of the features: backbone, weights, layer, resolution."""

from typing import Literal

from pydantic import Field, field_validator

from tasks.options.base import Options

BACKBONE_HINT = (
    "This names any vision transformer of timm: vit_small_patch16_224.dino, "
    "vit_base_patch8_224.dino, vit_small_patch14_reg4_dinov2, vit_small_patch16_dinov3, and others."
)

DINO_NAMES = {
    f"dino_vit{size[0]}{patch}": f"vit_{size}_patch{patch}_224.dino"
    for size in ("small", "base")
    for patch in (8, 16)
}
"""timm's names of DINO's transformers, by DINO's own."""

LEAST_CROP, LEAST_GLOBAL, LEAST_LOCAL = 32, 16, 8

"""Smallest sides of a crop and of views, pixels."""


class FeaturesOptions(Options):
    """What the backbone sees and which of its layers is read."""

    backbone: str = Field("vit_small_patch16_224.dino", description=BACKBONE_HINT)
    weights: str | None = Field(
        None,
        description="This is a weights file (.pth or .safetensors, path or URI; timm's or the "
        "published names), 'untrained' for seeded random ones, or 'bundled' for the demo's. By "
        "default timm's own are downloaded.",
    )
    layer: int | None = Field(
        None,
        ge=0,
        description="The patch tokens of this block are read, counted from 0. By default it is "
        "the last one.",
    )
    positions: Literal["timm", "dino"] = Field(
        "timm",
        exclude_if=lambda code: code == "timm",  # features from before the option keep their keys
        description="Learned positions are resampled for other image sizes as timm does it, or as "
        "the code of DINO and DINOv2 does: not antialiased, off by up to a tenth of a patch.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="The backbone has its weights and activations in this type, and the head "
        "computes its products with features in it. With auto it is bfloat16 where this machine's "
        "GPU or CPU, or a cluster's GPU, computes in it.",
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
        description="Features are kept for at most this many images, which are sampled by a hash "
        "of their ids.",
    )

    @field_validator("backbone")
    @classmethod
    def _names_of_dino(cls, name: str) -> str:
        return DINO_NAMES.get(name, name)
