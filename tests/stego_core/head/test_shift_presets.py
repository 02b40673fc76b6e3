"""Presets and the choice of shifts."""

import pytest

from stego_core.errors import OptionError
from stego_core.head.shift_presets import PRESETS, parse_shifts


class TestCalibration:
    def test_auto_leaves_the_shifts_to_be_measured(self) -> None:
        assert parse_shifts("auto") == ((0.67, 0.25, 0.63), None)

    @pytest.mark.parametrize(
        ("name", "weights", "shifts"),
        [
            ("cocostuff27-s8", (0.67, 0.25, 0.63), (0.08, 0.02, 0.66)),
            ("cocostuff27-b8", (0.10, 1.00, 0.1538476246415498), (0.12, 0.20, 1.00)),
            (
                "cityscapes27-b8",
                (1.00, 0.577453483136995, 0.9058762625226623),
                (0.45828472207, 0.1754346515479633, 0.31361241889448443),
            ),
            ("potsdam3-s8", (0.67, 0.25, 0.63), (0.08, 0.02, 0.46)),
        ],
    )
    def test_presets_are_the_published_numbers(
        self, name: str, weights: tuple[float, ...], shifts: tuple[float, ...]
    ) -> None:
        assert parse_shifts(name) == (weights, shifts)

    def test_explicit_shifts_come_with_the_default_weights(self) -> None:
        assert parse_shifts([0.4, 0.3, 0.2]) == ((0.67, 0.25, 0.63), (0.4, 0.3, 0.2))

    def test_the_paper_rounds_them_to_two_digits(self) -> None:
        weights, shifts = parse_shifts("cityscapes27-b8")
        assert shifts is not None
        assert [round(value, 2) for value in weights] == [1.0, 0.58, 0.91]
        assert [round(value, 2) for value in shifts] == [0.46, 0.18, 0.31]
        assert round(parse_shifts("cocostuff27-b8").weights.rand, 2) == 0.15

    def test_explicit_weights_win(self) -> None:
        assert parse_shifts("potsdam3-s8", [1, 2, 3]) == ((1, 2, 3), (0.08, 0.02, 0.46))
        assert parse_shifts("auto", [1, 2, 3]) == ((1, 2, 3), None)
        with pytest.raises(OptionError, match="2 weights were given; expected three"):
            parse_shifts("auto", [1, 2])

    def test_unknown_preset_is_named_with_the_known_ones(self) -> None:
        with pytest.raises(OptionError, match="'cocostuf'") as raised:
            parse_shifts("cocostuf")
        assert all(name in str(raised.value) for name in PRESETS)

    @pytest.mark.parametrize("shifts", [[], [0.1, 0.2], [0.1] * 4])
    def test_other_counts_are_refused(self, shifts: list[float]) -> None:
        with pytest.raises(OptionError, match=f"{len(shifts)} shifts were given; expected three"):
            parse_shifts(shifts)
