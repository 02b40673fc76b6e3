"""Patches are where they are in the image, and a heat map says what a loop over them says."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stego_core.images.geometry import QUARTERS, training_crops
from stego_core.search.patch_map import PatchMap, crop_axes, crop_patch

GRID, PATCH = 4, 8
SIDE = GRID * PATCH
SIZES = [(128, 128), (128, 192), (256, 160), (131, 129)]


def places(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose red and green are where a pixel lies, in 256ths of height and width."""
    y = (np.arange(height) + 0.5) / height * 255
    x = (np.arange(width) + 0.5) / width * 255
    image = np.zeros((height, width, 3))
    image[..., 0], image[..., 1] = y[:, None], x
    return image.round().astype(np.uint8)


def stitched(height: int, width: int, five: bool) -> PatchMap:
    """Of features that are each patch's mean colour."""
    crops = training_crops(places(height, width), SIDE, five)[: QUARTERS if five else 1]
    cells = crops.reshape(len(crops), GRID, PATCH, GRID, PATCH, 3).mean(axis=(2, 4))
    return PatchMap.stitched(cells.astype(np.float32), height, width)


@pytest.mark.parametrize("five", [True, False])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_patch_shows_the_place_where_it_lies(height: int, width: int, five: bool) -> None:
    found = stitched(height, width, five)
    side = (2 if five else 1) * GRID
    assert found.features.shape == (side, side, 3)
    for row in range(side):
        for column in range(side):
            patch = found.patch(row, column)
            shown = found.features[row, column, :2] / 255
            middle = patch.y + patch.height / 2, patch.x + patch.width / 2
            np.testing.assert_allclose(shown, middle, atol=0.006)
            assert found.at(*middle) == (row, column)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_patches_are_square_and_inside(height: int, width: int) -> None:
    for five in (True, False):
        rows, columns = crop_axes(height, width, GRID, five)
        assert rows.size * height == pytest.approx(columns.size * width)
        for axis in (rows, columns):
            assert axis.starts[0] >= 0
            assert axis.starts[-1] + axis.size <= 1 + 1e-9
            assert (np.diff(axis.starts) > 0).all()


def test_a_square_image_is_seen_whole_and_a_wide_one_is_not() -> None:
    assert stitched(128, 128, True).seen.all()
    wide = stitched(128, 192, True)
    assert wide.seen.shape == (8, 12)
    # The squares of the quarters leave 16 of 192 pixels at each side, and 32 in the middle.
    assert wide.seen[0].tolist() == [*[False], *[True] * 4, *[False] * 2, *[True] * 4, *[False]]
    assert wide.seen.all(axis=0).tolist() == wide.seen[0].tolist()


def test_an_answer_is_the_cosine_with_the_patch_at_each_place() -> None:
    rng = np.random.default_rng(0)
    crops = rng.normal(size=(4, GRID, GRID, 6)).astype(np.float16)
    found = PatchMap.stitched(crops, 128, 192)
    query = found.unit[2, 5]
    answer = found.answer(query)
    height, width = answer.values.shape
    asked = found.features[2, 5].astype(float)
    for row in range(height):
        for column in range(width):
            there = found.features[found.at((row + 0.5) / height, (column + 0.5) / width)]
            there = there.astype(float)
            slow = asked @ there / np.linalg.norm(asked) / np.linalg.norm(there)
            assert answer.values[row, column] == pytest.approx(slow, abs=1e-5)
    assert answer.values.dtype == np.float32
    assert answer.values.max() <= 1


def test_a_whole_map_divides_the_image_evenly() -> None:
    features = np.random.default_rng(0).normal(size=(3, 5, 6)).astype(np.float32)
    found = PatchMap.whole(features)
    assert found.at(0.5, 0.99) == (1, 4)
    assert found.at(1, 0) == (2, 0)
    assert found.patch(1, 4) == pytest.approx((1 / 3, 0.8, 1 / 3, 0.2))
    answer = found.answer(found.unit[1, 4])
    assert answer.seen.all()
    np.testing.assert_allclose(answer.values, (found.unit @ found.unit[1, 4]), atol=1e-6)


def test_an_image_of_one_pixel_has_patches() -> None:
    found = PatchMap.stitched(np.ones((4, GRID, GRID, 2), np.float16), 1, 1)
    assert found.answer(found.unit[0, 0]).values.max() == pytest.approx(1)


@pytest.mark.parametrize("five", [True, False])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_patches_of_crops_are_those_of_the_stitched_map(
    height: int, width: int, five: bool
) -> None:
    """Tokens are numbered crop by crop; the map puts the crops side by side."""
    crops, side = (QUARTERS, 2 * GRID) if five else (1, GRID)
    tokens = np.arange(crops * GRID * GRID).reshape(crops, GRID, GRID, 1)
    found = PatchMap.stitched(tokens, height, width)
    for row in range(side):
        for column in range(side):
            crop, token = divmod(int(found.features[row, column, 0]), GRID * GRID)
            expected = found.patch(row, column)
            assert crop_patch(height, width, GRID, five, crop, token) == expected
