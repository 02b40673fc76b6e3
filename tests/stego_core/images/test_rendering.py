"""Numbers of any type become levels as a slow float64 version does it; no data stays out of it."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.images.rendering import (
    BYTE,
    ORDINARY,
    Form,
    Rendering,
    filled,
    levels,
    patches_with_data,
    rendered,
)

TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


def slow_level(value: float, low: float, high: float) -> int:
    """One value, exactly."""
    if math.isnan(value):
        return 0
    share = (Fraction(value) - Fraction(low)) / (Fraction(high) - Fraction(low))
    return math.floor(min(max(share, Fraction(0)), Fraction(1)) * 255 + Fraction(1, 2))


@pytest.mark.parametrize("dtype", TYPES)
@given(seed=st.integers(0, 2**32 - 1))
def test_levels_equal_the_slow_version(dtype: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    low, high = sorted(generator.normal(scale=300, size=2).round(2).tolist())
    high += 1
    values = generator.normal((low + high) / 2, high - low, 30)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        values = values.round().clip(info.min, info.max)
    values = values.astype(dtype)
    expected = [slow_level(float(value), low, high) for value in values]
    found = levels(values, (low, high)).astype(int)
    assert (np.abs(found - expected) <= 1).all()  # at a half, float64 may round either way
    exact = [abs(255 * (float(v) - low) / (high - low) % 1 - 0.5) > 1e-9 for v in values]
    np.testing.assert_array_equal(found[exact], np.array(expected)[exact])
    np.testing.assert_array_equal(levels(values, (low, high), inverted=True), 255 - found)


@pytest.mark.parametrize(
    ("factor", "dtype", "span"),
    [
        (1, "uint8", BYTE),
        (257, "uint16", (0, 65535)),
        (12, "uint16", (0, 3060)),
        (16843009, "uint32", (0, 2**32 - 1)),
        (1 / 255, "float32", (0, 1)),
        (1 / 255, "float64", (0, 1)),
    ],
)
def test_the_same_picture_whatever_holds_it(
    factor: float, dtype: str, span: tuple[float, float]
) -> None:
    eight_bits = np.arange(256)
    np.testing.assert_array_equal(levels((eight_bits * factor).astype(dtype), span), eight_bits)


def test_numbers_that_are_none_are_black_without_a_warning() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 0.5], np.float32)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(levels(values, (0, 1)), [0, 255, 0, 255, 0, 128])


def rendering(bands: int, **form: Any) -> Rendering:
    made = Form("uint8", 8, bands, tuple(range(1, bands + 1)), **form)
    return Rendering(made, (BYTE,) * bands, alpha=True, how="as they are")


def test_grey_and_colour() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    np.testing.assert_array_equal(rendered(values, rendering(3)), values.transpose(1, 2, 0))
    grey = rendered(values[:1], rendering(1))
    assert (grey == values[0][..., None]).all()


def test_partly_transparent_pixels_show_white_behind_them() -> None:
    values = np.full((1, 1, 3), 100, np.uint8)
    opacity = np.array([[0.0, 0.5, 1.0]], np.float32)
    found = rendered(values, rendering(1), opacity)[..., 0].tolist()
    assert found == [[100, 178, 100]]
    multiplied = rendering(1, alpha=2, premultiplied=True)
    assert rendered(values // 2, multiplied, opacity)[0, 1, 0] == 178  # 50 + 127.5


def test_a_rendering_survives_json() -> None:
    import json

    made = Rendering(Form("int16", 16, 5, (4, 3, 2), alpha=5), ((-1.5, 2.5),) * 3, False, "so")
    assert Rendering.from_document(json.loads(json.dumps(made.document()))) == made
    assert not made.identity
    assert Rendering(ORDINARY, (BYTE,) * 3, False, "").identity


def test_pixels_without_data_have_the_mean_of_the_others() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0] = (10, 20, 31), (20, 40, 60)
    valid = np.array([[True, True], [False, False]])
    picture = filled(pixels, valid)
    assert picture.pixels[1].tolist() == [[15, 30, 46]] * 2
    assert picture.valid is not None
    assert filled(pixels, np.ones((2, 2), bool)).valid is None


def slow_patches(valid: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.bool_]:
    """By a fine raster that both grids divide."""
    fine = valid.repeat(rows, axis=0).repeat(columns, axis=1).astype(float)
    cells = fine.reshape(rows, valid.shape[0], columns, valid.shape[1])
    return cells.mean(axis=(1, 3)) >= 0.5 - 1e-9


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 7), st.integers(1, 7), st.integers(0))
def test_patches_with_data(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    valid = np.random.default_rng(seed).random((height, width)) < 0.5
    found = patches_with_data(valid, rows, columns)
    np.testing.assert_array_equal(found, slow_patches(valid, rows, columns))
