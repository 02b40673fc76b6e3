"""Numbers of STEGO's loss: its three shifts b, published or given, its weights, its negatives."""

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
    "cocostuff27-b8": LossShifts(Triple(0.1, 1.0, 0.1538476246415498), Triple(0.12, 0.2, 1.0)),
    "cityscapes27-b8": LossShifts(
        Triple(1.0, 0.577453483136995, 0.9058762625226623),
        Triple(0.45828472207, 0.1754346515479633, 0.31361241889448443),
    ),
    "potsdam3-s8": LossShifts(Triple(0.67, 0.25, 0.63), Triple(0.08, 0.02, 0.46)),
}
"""STEGO's released training configuration; Hamilton et al. 2022, appendix A.9, rounds them to two
digits. They hold for those data sets and backbones only."""

RANDOM_DRAWS = 5
"""Random partners per anchor and step by default, as in STEGO."""
DEFAULT_WEIGHTS = Triple(0.67, 0.25, 0.63)
"""Loss weights λ of measured or explicit shifts."""


def parse_shifts(
    choice: str | Sequence[float], weights: Sequence[float] | None = None
) -> LossShifts:
    """Weights and shifts of `auto`, a preset's name, or three explicit shifts.

    Three explicit `weights` win over the preset's or the default ones.

    Raises:
        OptionError: no such preset, or not three numbers.
    """
    chosen = _chosen(choice)
    if weights is None:
        return chosen
    if len(weights) != 3:
        raise OptionError(f"{len(weights)} weights were given; expected three: self, knn, rand")
    return chosen._replace(weights=Triple(*weights))


def _chosen(choice: str | Sequence[float]) -> LossShifts:
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
