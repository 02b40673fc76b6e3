"""The three shifts b of STEGO's loss: published presets, or a controller that sets them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stego_core.errors import OptionError


class Triple(NamedTuple):
    """A number for each kind of pair."""

    self: float
    knn: float
    rand: float


class Preset(NamedTuple):
    """Loss weights λ and shifts b that the authors published for one data set and backbone."""

    weights: Triple
    shifts: Triple


PRESETS = {
    "cocostuff27-s8": Preset(Triple(0.67, 0.25, 0.63), Triple(0.08, 0.02, 0.66)),
    "cocostuff27-b8": Preset(Triple(0.10, 1.00, 0.15), Triple(0.12, 0.20, 1.00)),
    "cityscapes27-b8": Preset(Triple(1.00, 0.58, 0.91), Triple(0.46, 0.18, 0.31)),
    "potsdam3-s8": Preset(Triple(0.67, 0.25, 0.63), Triple(0.08, 0.02, 0.46)),
}
"""Hamilton et al. 2022, appendix A.9; they hold for those data sets and backbones only."""

DEFAULT_WEIGHTS = Triple(0.67, 0.25, 0.63)
START = Triple(0.3, 0.25, 0.5)
TARGETS = Triple(0.30, 0.25, 0.05)
RATE = 0.01


@dataclass(frozen=True)
class Controller:
    """Moves each shift until the mean code correspondence sits at its target.

    After every step b ← b + rate · (mean S − target). Too large a mean means that everything
    resembles everything, and a larger b repels more pairs. Needs no label. Kept in [-1, 1],
    the range of the correspondences: beyond it every pair already repels or attracts.

    Attributes:
        targets: mean S wanted for self, knn and rand pairs, in [-1, 1].
        rate: step of b per unit of deviation; 0 holds the shifts where they are.
    """

    targets: Triple = TARGETS
    rate: float = RATE

    def moved(self, shifts: Triple, means: Sequence[float]) -> Triple:
        """The shifts for the next step, given this step's mean code correspondences."""
        return Triple(
            *(
                min(max(shift + self.rate * (mean - target), -1.0), 1.0)
                for shift, mean, target in zip(shifts, means, self.targets, strict=True)
            )
        )


class Calibration(NamedTuple):
    """What the training loop needs: loss weights, starting shifts, and what moves them."""

    weights: Triple
    start: Triple
    controller: Controller


def calibration(choice: str | Sequence[float]) -> Calibration:
    """The calibration for `auto`, a preset's name, or three explicit shifts.

    Raises:
        OptionError: no such preset, or not three numbers.
    """
    if choice == "auto":
        return Calibration(DEFAULT_WEIGHTS, START, Controller())
    fixed = Controller(rate=0.0)
    if isinstance(choice, str):
        if choice not in PRESETS:
            raise OptionError(
                f"shifts {choice!r} are unknown; expected auto, three numbers such as "
                f"0.3,0.25,0.5, or one of {', '.join(PRESETS)}"
            )
        preset = PRESETS[choice]
        return Calibration(preset.weights, preset.shifts, fixed)
    if len(choice) != 3:
        raise OptionError(f"{len(choice)} shifts were given; expected three: self, knn, rand")
    return Calibration(DEFAULT_WEIGHTS, Triple(*choice), fixed)
