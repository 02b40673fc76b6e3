"""Options of the head's training."""

import math
from typing import Literal

from pydantic import Field, model_validator

from stego_core.errors import OptionError
from stego_core.head.shift_presets import RANDOM_DRAWS, LossShifts, parse_shifts
from tasks.options.base import Options


class HeadOptions(Options):
    """Training of the head."""

    recipe: Literal["mean-shift", "stego"] = Field(
        "mean-shift",
        description="With mean-shift, the features of each image are pulled together before the "
        "head reads them, and large things are sampled less often; stego is the published recipe.",
    )
    shifts: str = Field(
        "auto",
        description="The loss's shifts are measured on the features (auto), or given as three "
        "numbers self,knn,rand or as a preset: cocostuff27-s8, cocostuff27-b8, cityscapes27-b8, "
        "potsdam3-s8.",
    )
    loss_weights: str | None = Field(
        None,
        exclude_if=lambda weights: weights is None,  # heads from before the option keep their keys
        description="The loss's terms have these weights, three numbers self,knn,rand. By default "
        "they are those of the preset of the shifts, else 0.67,0.25,0.63.",
    )
    negatives: int = Field(
        RANDOM_DRAWS,
        ge=1,
        exclude_if=lambda count: count == RANDOM_DRAWS,
        description="An image is compared with this many random others in a step.",
    )
    centring: bool = Field(
        True,
        exclude_if=lambda on: on,  # heads from before the option keep their keys
        description="Feature correspondences are centred for each patch before the shifts are "
        "taken off. The released Cityscapes model of STEGO was trained without.",
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
    seed: int = Field(0, ge=0, description="Weights and samples come from this seed.")

    @model_validator(mode="after")
    def _shifts_mean_something(self) -> "HeadOptions":
        self.calibration()
        return self

    def calibration(self) -> LossShifts:
        """What `shifts` and `loss_weights` mean.

        Raises:
            OptionError: one of them means nothing.
        """
        weights = None
        if self.loss_weights is not None:
            weights = _numbers("--loss-weights", self.loss_weights)
            if weights is None or min(weights) < 0:
                raise OptionError(
                    f"--loss-weights {self.loss_weights!r} are not three numbers of at least 0; "
                    "write for example 0.67,0.25,0.63"
                )
        return parse_shifts(_numbers("--shifts", self.shifts) or self.shifts, weights)


def _numbers(flag: str, text: str) -> list[float] | None:
    """The numbers of a text; None where it is a word. OptionError if one of them is not finite."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        return None
    if not all(math.isfinite(number) for number in numbers):
        raise OptionError(f"{flag} {text} are not three finite numbers")
    return numbers
