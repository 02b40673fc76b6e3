"""Frames are shown where their display matrix puts each pixel, with square pixels."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from stego_core.video.display import shown_size, upright

UNIT = 1 << 16
QUARTERS = [(a, 0, 0, d) for a, d in product((-UNIT, UNIT), repeat=2)] + [
    (0, b, c, 0) for b, c in product((-UNIT, UNIT), repeat=2)
]


@pytest.mark.parametrize(("a", "b", "c", "d"), QUARTERS)
def test_each_pixel_is_where_the_matrix_puts_it(a: int, b: int, c: int, d: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 5, 3), np.uint8)
    places = {
        (q, p): ((b * p + d * q) // UNIT, (a * p + c * q) // UNIT)
        for q in range(3)
        for p in range(5)
    }
    top, left = (min(place[axis] for place in places.values()) for axis in range(2))
    shown = upright(pixels, (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    assert shown.shape == ((3, 5, 3) if a else (5, 3, 3))
    for (row, column), (down, across) in places.items():
        np.testing.assert_array_equal(shown[down - top, across - left], pixels[row, column])


@pytest.mark.parametrize(
    "matrix",
    [(UNIT, 0, 0, 0, UNIT, 0, 0, 0, 1), (0,) * 9, (UNIT, 9000, 0, -9000, UNIT, 0, 0, 0, 1)],
)
def test_no_quarter_is_no_turn(matrix: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 5, 3), np.uint8)
    np.testing.assert_array_equal(upright(pixels, matrix), pixels)


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [
        (Fraction(1), (576, 720)),
        (Fraction(0), (576, 720)),
        (Fraction(-4, 3), (576, 720)),
        (Fraction(16, 15), (576, 768)),
        (Fraction(64, 45), (576, 1024)),
        (Fraction(8, 9), (648, 720)),
    ],
)
def test_one_side_grows(aspect: Fraction, expected: tuple[int, int]) -> None:
    assert shown_size(576, 720, aspect) == expected
