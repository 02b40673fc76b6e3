"""Options of the head's training."""

import math
from typing import Literal

from pydantic import Field, model_validator

from stego_core.errors import OptionError
from stego_core.head.shift_presets import LossShifts, parse_shifts
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
        """What `shifts` means.

        Raises:
            OptionError: it means nothing.
        """
        try:
            numbers = [float(number) for number in self.shifts.split(",")]
        except ValueError:
            return parse_shifts(self.shifts)
        if not all(math.isfinite(number) for number in numbers):
            raise OptionError(f"--shifts {self.shifts} are not three finite numbers")
        return parse_shifts(numbers)
