"""Options of a backbone's own pretraining."""

import math
from typing import Literal

from pydantic import Field, model_validator

from stego_core.errors import OptionError
from stego_core.images.geometry import require_patches
from tasks.options.base import Options
from tasks.options.features import BACKBONE_HINT, LEAST_GLOBAL, LEAST_LOCAL


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
        "its area, least and greatest; a share below 1 suits images with many things in them.",
    )
    global_scale: str = Field(
        "0.4,1", description="A global view covers this share of that area, least and greatest."
    )
    local_scale: str = Field(
        "0.05,0.4", description="A local view covers this share of that area, least and greatest."
    )
    registered: bool = Field(
        False,
        description="Images of one folder show the same scene pixel by pixel, as a fixed camera's "
        "do at other hours, and the two global views are cut from two of them: features learn what "
        "stays when light and colours change.",
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
        "deviation, as a share of the view's side), since what is near is mostly the same thing; "
        "with 0 it is the same place.",
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
    seed: int = Field(0, ge=0, description="Weights, samples and views come from this seed.")
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
        """Refuse views that are not a whole number of patches.

        Raises:
            OptionError: names the option.
        """
        require_patches("--global-size", self.global_size, patch, LEAST_GLOBAL)
        if self.local_views:
            require_patches("--local-size", self.local_size, patch, LEAST_LOCAL)

    @model_validator(mode="after")
    def _spans_are_spans(self) -> "PretrainOptions":
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
        return self
