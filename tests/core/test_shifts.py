"""Presets, the choice of shifts, and the controller that moves them."""

import pytest

from stego_core.errors import OptionError
from stego_core.shifts import PRESETS, Controller, Triple, calibration


class TestController:
    def test_shifts_stay_in_the_range_of_correspondences(self) -> None:
        moved = Controller(rate=1.0).moved(Triple(0.9, -0.9, 0.0), (1.0, -1.0, 0.05))
        assert moved == Triple(1.0, -1.0, 0.0)

    def test_moves_each_shift_by_rate_times_deviation(self) -> None:
        controller = Controller(Triple(0.3, 0.2, 0.05), rate=0.1)
        moved = controller.moved(Triple(0.5, 0.5, 0.5), (0.4, 0.2, -0.15))
        assert moved == pytest.approx((0.51, 0.5, 0.48))

    def test_rate_zero_holds_them(self) -> None:
        shifts = Triple(0.1, 0.2, 0.3)
        assert Controller(rate=0.0).moved(shifts, (1, 1, 1)) == shifts

    def test_needs_three_means(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            Controller().moved(Triple(0, 0, 0), (0.1, 0.2))


class TestCalibration:
    def test_auto_starts_and_aims_where_it_was_measured(self) -> None:
        chosen = calibration("auto")
        assert chosen.weights == (0.67, 0.25, 0.63)
        assert chosen.start == (0.3, 0.25, 0.5)
        assert chosen.controller == Controller(Triple(0.30, 0.25, 0.05), 0.01)

    @pytest.mark.parametrize(
        ("name", "weights", "shifts"),
        [
            ("cocostuff27-s8", (0.67, 0.25, 0.63), (0.08, 0.02, 0.66)),
            ("cocostuff27-b8", (0.10, 1.00, 0.15), (0.12, 0.20, 1.00)),
            ("cityscapes27-b8", (1.00, 0.58, 0.91), (0.46, 0.18, 0.31)),
            ("potsdam3-s8", (0.67, 0.25, 0.63), (0.08, 0.02, 0.46)),
        ],
    )
    def test_presets_are_the_published_numbers(
        self, name: str, weights: tuple[float, ...], shifts: tuple[float, ...]
    ) -> None:
        chosen = calibration(name)
        assert (chosen.weights, chosen.start, chosen.controller.rate) == (weights, shifts, 0)

    def test_explicit_shifts_stay_fixed(self) -> None:
        chosen = calibration([0.4, 0.3, 0.2])
        assert chosen.start == (0.4, 0.3, 0.2)
        assert chosen.controller.moved(chosen.start, (1, 1, 1)) == chosen.start

    def test_unknown_preset_is_named_with_the_known_ones(self) -> None:
        with pytest.raises(OptionError, match="'cocostuf'") as raised:
            calibration("cocostuf")
        assert all(name in str(raised.value) for name in PRESETS)

    @pytest.mark.parametrize("shifts", [[], [0.1, 0.2], [0.1] * 4])
    def test_other_counts_are_refused(self, shifts: list[float]) -> None:
        with pytest.raises(OptionError, match=f"{len(shifts)} shifts were given; expected three"):
            calibration(shifts)
