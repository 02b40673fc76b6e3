"""The published cut, pixel by pixel, against torchvision's transforms and a slow loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from stego_core.errors import ImageError
from stego_core.paper import cropping

sides = st.integers(2, 60)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), np.uint8)


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides)
def test_five_crops_are_torchvision_s(height: int, width: int) -> None:
    pixels = picture(height, width)
    size = [int(height * 0.5), int(width * 0.5)]
    expected = transforms.five_crop(Image.fromarray(pixels), size)
    windows = cropping.crop_windows(height, width, five=True)
    assert len(windows) == len(expected) == 5
    for window, crop in zip(windows, expected, strict=True):
        np.testing.assert_array_equal(pixels[window.slices], np.asarray(crop))


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides, side=st.integers(1, 48))
@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_view_is_torchvision_s(resampling: str, height: int, width: int, side: int) -> None:
    pixels = picture(height, width)
    resized = transforms.resize(Image.fromarray(pixels), side, InterpolationMode(resampling))
    expected = np.asarray(transforms.center_crop(resized, [side, side]))
    np.testing.assert_array_equal(cropping.resized_square(pixels, side, resampling), expected)


@settings(deadline=None, max_examples=60)
@given(height=sides, width=sides, side=st.integers(1, 48))
def test_labels_take_the_nearest_pixel(height: int, width: int, side: int) -> None:
    tall, wide = cropping.resized_size(height, width, side)
    window = cropping.centre_window(tall, wide, side)
    rows, columns = np.indices((height, width), np.uint8)
    for taken, first, scale in (
        (cropping.resized_square(rows, side, "nearest"), window.top, height / tall),
        (cropping.resized_square(columns, side, "nearest").T, window.left, width / wide),
    ):
        for place in range(side):
            centre = (first + place + 0.5) * scale - 0.5
            assert (abs(taken[place] - centre) <= 0.5 + 1e-9).all()


def test_sizes_of_the_published_data() -> None:
    assert cropping.resized_size(1024, 2048, 320) == (320, 640)
    assert cropping.resized_size(640, 427, 320) == (479, 320)
    assert cropping.resized_size(200, 200, 320) == (320, 320)
    assert cropping.centre_window(320, 479, 320) == (0, 80, 320, 400)  # 79.5 to the even 80
    assert cropping.centre_window(320, 325, 320) == (0, 2, 320, 322)  # 2.5 to the even 2


def test_a_square_of_the_right_size_is_left_alone() -> None:
    pixels = picture(32, 32)
    np.testing.assert_array_equal(cropping.resized_square(pixels, 32, "bilinear"), pixels)


def test_a_row_of_pixels_has_no_half() -> None:
    with pytest.raises(ImageError, match="40×1 is too small"):
        cropping.crop_windows(1, 40, five=True)


PHOTOGRAPHS = [
    (427, 640), (333, 500), (375, 499), (321, 321), (320, 321), (319, 481), (640, 425), (96, 1001),
    (1024, 2048), (200, 200),
]  # fmt: skip
"""Heights and widths: odd ones, smaller and larger ones than the square, Cityscapes', Potsdam's."""


def under(length: int, side: int, short: int) -> tuple[list[int], list[bool]]:
    """The pixel of a side of an image under each centre of the square, and where that is certain:
    a centre on the border of two pixels belongs to either, by the rounding of Pillow's steps.
    """
    resized = side * length // short
    first = round((resized - side) / 2)
    places = [((2 * (first + place) + 1) * length, 2 * resized) for place in range(side)]
    return [a // b for a, b in places], [a % b > 0 for a, b in places]


@pytest.mark.parametrize(("height", "width"), PHOTOGRAPHS)
@pytest.mark.parametrize("side", [224, 320])
def test_squares_of_photographs_take_these_pixels(side: int, height: int, width: int) -> None:
    """By the rule alone, whole numbers only."""
    pixels, short = picture(height, width), min(height, width)
    (rows, sure_rows), (columns, sure_columns) = (under(n, side, short) for n in (height, width))
    sure = np.ix_(sure_rows, sure_columns)
    assert np.mean(sure_rows) > 0.7
    assert np.mean(sure_columns) > 0.7
    for array in (pixels, pixels[..., 0]):
        found = cropping.resized_square(array, side, "nearest")
        np.testing.assert_array_equal(found[sure], array[rows][:, columns][sure])
