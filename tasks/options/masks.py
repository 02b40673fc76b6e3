"""Options of the masks."""

from typing import Literal

from pydantic import Field, model_validator

from stego_core.errors import OptionError
from tasks.options.base import Options


class MasksOptions(Options):
    """How images are labelled."""

    resolution: int = Field(
        448,
        ge=32,
        description="The backbone sees images with a short side of this many pixels, rounded to "
        "whole patches; 448 is the scale of five-crops at 224. STEGO evaluates at 320.",
    )
    views: Literal["scales", "mirror"] = Field(
        "scales",
        exclude_if=lambda views: views == "scales",  # `MASKS_VERSION` tells them from masks before
        description="A code is the mean of two, of the image and of its mirrored twin. With "
        "scales, the twin has five sevenths of this resolution (448 and 320); with mirror it has "
        "the same, as in STEGO.",
    )
    tile: int = Field(
        256,
        ge=64,
        description="The backbone sees windows of at most this many pixels at once, rounded down "
        "to whole patches; with --views scales, those of the twin may be twice as long.",
    )
    tile_overlap: int = Field(
        64,
        ge=0,
        description="Those windows overlap by this many pixels, rounded down to whole patches.",
    )
    sharpness: float | None = Field(
        None,
        gt=0,
        description="The cosine is multiplied by this factor before the softmax over clusters "
        "(STEGO: 2); a smaller one lets the CRF smooth more. By default it is the logarithm of "
        "the number of clusters, so that a class is as sure of its pixels among many as among few.",
    )
    crf_engine: Literal["lattice", "pydensecrf"] = Field(
        "lattice",
        exclude_if=lambda engine: engine == "lattice",  # masks from before the option keep keys
        description="This computes the CRF: lattice, which comes with this package, or "
        "pydensecrf, the implementation of its authors, which takes five times the time.",
    )
    crf_pixels: Literal["exact", "released"] = Field(
        "exact",
        exclude_if=lambda pixels: pixels == "exact",  # masks from before the option keep their keys
        description="The CRF sees the image's own colours, or with released those that STEGO's "
        "evaluation hands over: blue, green, red, and cut off to bytes after a normalisation.",
    )
    crf_iterations: int = Field(
        10, ge=0, description="The CRF takes this many mean-field iterations; 0 turns it off."
    )
    crf_tile: int = Field(
        1024, ge=64, description="The CRF sees windows of at most this many pixels at full size."
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
