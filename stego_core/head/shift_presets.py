"""The three shifts b of STEGO's loss: published ones, three numbers, or `auto`."""

from collections.abc import Sequence
from typing import NamedTuple

from stego_core.errors import OptionError


class Triple(NamedTuple):
    """A number for each kind of pair."""

    self: float
    knn: float
    rand: float


class LossShifts(NamedTuple):
    """Loss weights λ, and shifts b; None where `shift_calibration` measures them."""

    weights: Triple
    shifts: Triple | None


PRESETS = {
    "cocostuff27-s8": LossShifts(Triple(0.67, 0.25, 0.63), Triple(0.08, 0.02, 0.66)),
    "cocostuff27-b8": LossShifts(Triple(0.10, 1.00, 0.15), Triple(0.12, 0.20, 1.00)),
    "cityscapes27-b8": LossShifts(Triple(1.00, 0.58, 0.91), Triple(0.46, 0.18, 0.31)),
    "potsdam3-s8": LossShifts(Triple(0.67, 0.25, 0.63), Triple(0.08, 0.02, 0.46)),
}
"""Hamilton et al. 2022, appendix A.9; they hold for those data sets and backbones only."""

DEFAULT_WEIGHTS = Triple(0.67, 0.25, 0.63)
"""Loss weights λ of measured or explicit shifts."""


def parse_shifts(choice: str | Sequence[float]) -> LossShifts:
    """Weights and shifts of `auto`, a preset's name, or three explicit shifts.

    Raises:
        OptionError: no such preset, or not three numbers.
    """
    if choice == "auto":
        return LossShifts(DEFAULT_WEIGHTS, None)
    if isinstance(choice, str):
        if choice not in PRESETS:
            raise OptionError(
                f"shifts {choice!r} are unknown; expected auto, three numbers such as "
                f"0.45,0.45,0.4, or one of {', '.join(PRESETS)}"
            )
        return PRESETS[choice]
    if len(choice) != 3:
        raise OptionError(f"{len(choice)} shifts were given; expected three: self, knn, rand")
    return LossShifts(DEFAULT_WEIGHTS, Triple(*choice))
