"""Counts add up in any order, and the range follows from them as the files and the corpus say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stego_core.errors import OptionError
from stego_core.images.rendering import BYTE, Form
from stego_core.images.value_counts import Counts, clipped, on_levels, summed
from stego_core.images.value_range import (
    choose_range,
    is_transparency,
    parsed_bands,
    parsed_range,
    ranges,
    remark,
)

WIDE = Form("uint16", 16, 3, (1, 2, 3))
REAL = Form("float32", 32, 1, (1,))


def photo(seed: int = 0, size: int = 20_000) -> np.ndarray:
    """Levels like those of a photograph, all of 0 to 255 among them."""
    levels = np.random.default_rng(seed).beta(1.2, 2, size) * 255
    return np.concatenate([[0, 255], levels.round()]).astype(np.uint8)


class TestCounts:
    @pytest.mark.parametrize("whole", [True, False])
    @given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 300), max_size=5))
    def test_any_partition_counts_the_same(self, whole: bool, seed: int, cuts: list[int]) -> None:
        generator = np.random.default_rng(seed)
        values = generator.normal(scale=10.0 ** generator.integers(-3, 4), size=300)
        values = values.round().astype(np.int16) if whole else values
        at_once = Counts.of(values, whole)
        parts = [Counts.of(part, whole) for part in np.split(values, sorted(cuts))]
        generator.shuffle(parts)
        together = summed([Counts.none(whole), *parts])
        np.testing.assert_array_equal(together.keys, at_once.keys)
        np.testing.assert_array_equal(together.counts, at_once.counts)
        assert (together.least, together.greatest) == (at_once.least, at_once.greatest)
        assert at_once.total == 300

    @given(st.lists(st.floats(-(2.0**60), 2.0**60), min_size=1, max_size=200))
    def test_values_are_told_apart_to_one_part_in_eight_thousand(self, values: list[float]) -> None:
        counts = Counts.of(np.array(values, np.float32), whole=False)
        found = np.repeat(counts.values, counts.counts)
        np.testing.assert_allclose(found, np.sort(values), rtol=2.0**-13, atol=1e-30)

    def test_quantiles_of_whole_numbers_are_exact(self) -> None:
        counts = Counts.of(np.arange(-50, 950, dtype=np.int16), whole=True)
        assert counts.quantile(0.001) == -50
        assert counts.quantile(0.5) == 449
        assert counts.quantile(0.999) == 948

    def test_levels_and_shares(self) -> None:
        counts = Counts.of(np.array([0, 5, 10, 20], np.uint16), whole=True)
        assert clipped([counts], [(0, 10)]) == 0.25
        assert on_levels(counts, (0, 10)).keys.tolist() == [0, 128, 255]
        assert on_levels(counts, (0, 10)).counts.tolist() == [1, 1, 2]


class TestAuto:
    def test_eight_bits_are_levels(self) -> None:
        dark = Counts.of(photo() // 9, whole=True)
        assert choose_range(dark, Form("uint8", 8, 4, (1, 2, 3)), None).span == BYTE

    @pytest.mark.parametrize("factor", [1, 4, 12, 39, 100])
    def test_sixteen_bits_of_which_few_are_used(self, factor: int) -> None:
        values = photo().astype(np.uint16) * factor
        assert choose_range(Counts.of(values, True), WIDE, None).span == (0, 255 * factor)

    def test_eight_bits_widened_to_sixteen_however_dark(self) -> None:
        values = (photo() // 20).astype(np.uint16) * 257
        assert choose_range(Counts.of(values, True), WIDE, None).span == (0, 65535)

    @pytest.mark.parametrize("bits", [10, 12, 14])
    def test_the_bits_that_the_file_states(self, bits: int) -> None:
        values = (photo() // 1.3 * 2 ** (bits - 8)).astype(np.uint16)
        form = Form("uint16", bits, 1, (1,))
        assert choose_range(Counts.of(values, True), form, None).span == (0, 2**bits - 1)

    @pytest.mark.parametrize("full", [1.0, 255.0])
    def test_floating_point_numbers_of_usual_ranges(self, full: float) -> None:
        values = photo() / np.float32(255) * np.float32(full) * np.float32(0.97)
        assert choose_range(Counts.of(values, False), REAL, None).span == (0, full)

    def test_heights(self) -> None:
        values = np.random.default_rng(0).uniform(1200, 1900, 5000).astype(np.float32)
        low, high = choose_range(Counts.of(values, False), REAL, None).span
        assert (low, high) == (values.min(), values.max())

    def test_signed_numbers(self) -> None:
        values = photo().astype(np.int16) * 8 - 1024
        form = Form("int16", 16, 1, (1,))
        assert choose_range(Counts.of(values, True), form, None).span == (-1024, 1016)

    @pytest.mark.parametrize("odd", [60_000, 65_535])
    def test_a_few_outliers_do_not_darken_a_corpus(self, odd: int) -> None:
        values = photo().astype(np.uint16) * 12
        values[:10] = odd
        low, high = choose_range(Counts.of(values, True), WIDE, None).span
        assert low == 0
        assert high <= 3060

    def test_what_the_files_state_counts_where_values_use_it(self) -> None:
        values = Counts.of(photo().astype(np.uint16) * 12, True)
        assert choose_range(values, WIDE, (0.0, 4000.0)).span == (0, 4000)
        assert choose_range(values, WIDE, (0.0, 50_000.0)).span == (0, 3060)
        assert choose_range(values, WIDE, (0.0, 2000.0)).span == (0, 3060)

    def test_one_value_only(self) -> None:
        low, high = choose_range(Counts.of(np.full(9, 700, np.uint16), True), WIDE, None).span
        assert low < high


class TestOptions:
    def test_given_and_stated(self) -> None:
        counts = [Counts.of(photo().astype(np.uint16) * 12, True)] * 3
        assert ranges(counts, WIDE, None, "0,3000", one=True)[0] == ((0, 3000),) * 3
        assert ranges(counts, WIDE, None, "file", one=True)[0] == ((0, 65535),) * 3
        assert ranges(counts, WIDE, (5.0, 9.0), "file", one=True)[0] == ((5, 9),) * 3

    def test_bands_of_one_unit_keep_their_balance(self) -> None:
        bands = [Counts.of(photo().astype(np.uint16) * factor, True) for factor in (3, 6, 12)]
        assert ranges(bands, WIDE, None, "auto", one=True)[0] == ((0, 3060),) * 3
        own = ranges(bands, WIDE, None, "auto", one=False)[0]
        assert own == ((0, 765), (0, 1530), (0, 3060))

    @pytest.mark.parametrize("text", ["", "1", "3,2", "a,b", "0,1,2", "nan,3", "0,inf", "4,4"])
    def test_ranges_that_are_none(self, text: str) -> None:
        with pytest.raises(OptionError, match="--value-range"):
            parsed_range(text)

    @pytest.mark.parametrize("text", ["", "0,1,2", "1,2", "1,2,3,4", "-1", "a", "1.5"])
    def test_bands_that_are_none(self, text: str) -> None:
        with pytest.raises(OptionError, match="--bands"):
            parsed_bands(text)

    def test_bands(self) -> None:
        assert parsed_bands("4, 3,2") == (4, 3, 2)
        assert parsed_bands("8") == (8,)
        assert parsed_bands(None) is None


class TestTransparency:
    def test_near_infrared_is_none(self) -> None:
        near_infrared = Counts.of(photo().astype(np.int64) * 257, True)
        assert not is_transparency(near_infrared, 65535)
        assert not is_transparency(Counts.of(np.zeros(100, np.int64), True), 65535)

    def test_a_mask_is(self) -> None:
        mask = np.where(np.arange(1000) < 700, 65535, 0)
        mask[690:710] = np.linspace(65535, 0, 20)  # a soft edge
        assert is_transparency(Counts.of(mask, True), 65535)
        assert is_transparency(Counts.of(np.full(100, 65535), True), 65535)


class TestRemarks:
    @pytest.mark.parametrize(
        ("levels", "expected"),
        [
            (np.full(50, 7), "every pixel"),
            (np.arange(6), "almost black"),
            (255 - np.arange(6), "almost white"),
            (np.arange(256), None),
        ],
    )
    def test_remark(self, levels: np.ndarray, expected: str | None) -> None:
        found = remark(Counts.of(levels, True))
        assert (found is None) if expected is None else (expected in str(found))
