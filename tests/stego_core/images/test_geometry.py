"""Crops, sizes, windows and their inverse: hand-computed cases and properties."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.errors import OptionError
from stego_core.images.geometry import (
    MAX_ASPECT,
    Blend,
    Window,
    cores,
    crop_windows,
    cuts,
    inference_size,
    inner_square,
    ramp,
    resize,
    square,
    square_labels,
    training_crops,
    windows,
)

lengths = st.integers(1, 300)


@st.composite
def tilings(draw: st.DrawFn) -> tuple[int, int, int]:
    """A length, a tile and an overlap smaller than the tile."""
    tile = draw(st.integers(1, 60))
    return draw(lengths), tile, draw(st.integers(0, tile - 1))


def parts_needed(length: int, side: int, overlap: int) -> float:
    """Parts of a side, one after the other, until they cover a length; infinite if never."""
    parts, end = 1, side
    while end < length:
        if side <= overlap:
            return math.inf
        parts, end = parts + 1, end + side - overlap
    return parts


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose colour changes slowly and differs everywhere."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [255 * y / height, 255 * x / width, 255 * (y + x) / (height + width)], -1
    ).astype(np.uint8)


class TestFiveCrop:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            (
                (8, 12),
                [(0, 0, 4, 6), (0, 6, 4, 12), (4, 0, 8, 6), (4, 6, 8, 12), (2, 3, 6, 9)],
            ),
            ((5, 7), [(0, 0, 2, 3), (0, 4, 2, 7), (3, 0, 5, 3), (3, 4, 5, 7), (1, 2, 3, 5)]),
            ((1, 4), [(0, 0, 1, 2), (0, 2, 1, 4), (0, 0, 1, 2), (0, 2, 1, 4), (0, 1, 1, 3)]),
            ((1, 1), [(0, 0, 1, 1)] * 5),
        ],
    )
    def test_corners_and_centre(
        self, size: tuple[int, int], expected: list[tuple[int, ...]]
    ) -> None:
        assert crop_windows(*size, True) == expected

    def test_without_it_the_whole_image(self) -> None:
        assert crop_windows(5, 7, five=False) == [(0, 0, 5, 7)]

    def test_crops_are_the_squares_of_the_windows(self) -> None:
        image = smooth(40, 64)
        crops = training_crops(image, 16, five=True)
        assert (crops.shape, crops.dtype) == ((5, 16, 16, 3), np.uint8)
        for crop, (top, left, bottom, right) in zip(crops, crop_windows(40, 64, True), strict=True):
            np.testing.assert_array_equal(crop, square(image[top:bottom, left:right], 16))

    @pytest.mark.parametrize("size", [(1, 1), (1, 2000), (37, 53)])
    @pytest.mark.parametrize(("five", "count"), [(True, 5), (False, 1)])
    def test_any_image_gives_full_crops(
        self, size: tuple[int, int], five: bool, count: int
    ) -> None:
        crops = training_crops(np.full((*size, 3), 9, np.uint8), 32, five)
        assert crops.shape == (count, 32, 32, 3)
        assert (crops == 9).all()


class TestWindow:
    def test_knows_its_size_and_slices(self) -> None:
        window = Window(1, 2, 4, 7)
        assert (window.height, window.width) == (3, 5)
        assert np.zeros((9, 9))[window.slices].shape == (3, 5)


class TestSquare:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [((4, 9), (0, 2, 4, 6)), ((9, 4), (2, 0, 6, 4)), ((5, 5), (0, 0, 5, 5))],
    )
    def test_centre(self, size: tuple[int, int], expected: tuple[int, ...]) -> None:
        assert inner_square(*size) == expected

    @pytest.mark.parametrize("size", [(40, 64), (64, 40), (33, 97), (90, 90)])
    def test_is_the_short_side_resized_then_the_centre(self, size: tuple[int, int]) -> None:
        image = smooth(*size)
        scale = 20 / min(size)
        resized = resize(image, *(max(round(side * scale), 20) for side in size))
        expected = resized[inner_square(*resized.shape[:2]).slices]
        difference = square(image, 20).astype(int) - expected
        assert abs(difference).max() <= 255 / min(size) + 5  # half a pixel, antialiasing at borders

    def test_labels_take_the_same_crop(self) -> None:
        image = np.zeros((30, 50, 3), np.uint8)
        image[:, 25:] = 255
        labels = (image[..., 0] > 0).astype(np.int16)
        np.testing.assert_array_equal(square_labels(labels, 60), square(image, 60)[..., 0] > 127)


class TestResize:
    def test_same_size_is_untouched(self, noise_image: NDArray[np.uint8]) -> None:
        assert resize(noise_image, 37, 53) is noise_image

    def test_shrinking_averages(self) -> None:
        board = np.zeros((64, 64, 3), np.uint8)
        board[(np.indices((64, 64)).sum(0) % 2).astype(bool)] = 255
        assert abs(resize(board, 16, 16).astype(int) - 127).max() <= 2

    def test_axes_are_height_then_width(self) -> None:
        assert resize(smooth(8, 6), 5, 11).shape == (5, 11, 3)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 20), st.integers(1, 20))
    def test_labels_are_those_of_the_nearest_centre(self, side: int, new_side: int) -> None:
        resized = square_labels(np.arange(side * side).reshape(side, side), new_side)
        for y, x in np.ndindex(new_side, new_side):
            row, column = divmod(int(resized[y, x]), side)
            assert abs(row + 0.5 - (y + 0.5) * side / new_side) <= 0.5 + 1e-9
            assert abs(column + 0.5 - (x + 0.5) * side / new_side) <= 0.5 + 1e-9


class TestInferenceSize:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((320, 320), (320, 320)),
            ((480, 640), (320, 432)),  # 426.7
            ((37, 53), (320, 464)),  # 458.4
            ((1, 1), (320, 320)),
            ((1, 2000), (16, 2560)),
            ((2000, 1), (2560, 16)),
            ((10, 80), (320, 2560)),
        ],
    )
    def test_hand_computed(self, size: tuple[int, int], expected: tuple[int, int]) -> None:
        assert inference_size(*size, 320, 16) == expected

    @settings(max_examples=100, deadline=None)
    @given(*[st.integers(1, 10_000)] * 2, st.integers(14, 640), st.sampled_from([8, 14, 16]))
    def test_multiples_of_the_patch_within_bounds(
        self, height: int, width: int, short: int, patch: int
    ) -> None:
        size = inference_size(height, width, short, patch)
        assert all(side >= patch and side % patch == 0 for side in size)
        assert max(size) <= max(MAX_ASPECT * short + patch / 2, patch)
        assert min(size) <= max(short + patch / 2, patch)
        if max(height, width) <= MAX_ASPECT * min(height, width):
            scale = short / min(height, width)
            for side, original in zip(size, (height, width), strict=True):
                assert side == patch or abs(side - original * scale) <= patch / 2 + 1e-6


class TestSpans:
    @pytest.mark.parametrize(
        ("length", "tile", "overlap", "expected"),
        [
            (10, 10, 3, [(0, 10)]),
            (4, 10, 3, [(0, 4)]),
            (11, 10, 3, [(0, 7), (4, 11)]),
            (17, 10, 3, [(0, 10), (7, 17)]),
            (18, 10, 3, [(0, 8), (5, 13), (10, 18)]),
            (20, 10, 0, [(0, 10), (10, 20)]),
        ],
    )
    def test_hand_computed(
        self, length: int, tile: int, overlap: int, expected: list[tuple[int, int]]
    ) -> None:
        assert cuts(length, tile, overlap) == expected

    @settings(max_examples=100, deadline=None)
    @given(tilings())
    def test_cover_with_enough_overlap(self, tiling: tuple[int, int, int]) -> None:
        length, tile, overlap = tiling
        found = cuts(*tiling)
        assert found[0][0] == 0
        assert found[-1][1] == length
        assert len({stop - start for start, stop in found}) == 1
        assert found[0][1] <= tile
        for (start, stop), (following, _) in pairwise(found):
            assert start < following <= stop - overlap

    @settings(max_examples=100, deadline=None)
    @given(tilings())
    def test_are_the_fewest_and_then_the_shortest(self, tiling: tuple[int, int, int]) -> None:
        length, tile, overlap = tiling
        least = min(
            (parts_needed(length, side, overlap), side) for side in range(1, min(tile, length) + 1)
        )
        found = cuts(*tiling)
        assert (len(found), found[0][1]) == least

    @pytest.mark.parametrize("overlap", [-1, 8, 9])
    def test_overlap_must_fit(self, overlap: int) -> None:
        with pytest.raises(OptionError, match=f"overlap {overlap} must .* tile 8"):
            cuts(20, 8, overlap)


class TestCores:
    def test_neighbours_meet_in_the_middle(self) -> None:
        assert cores(18, 10, 3) == [(0, 6), (6, 11), (11, 18)]  # cuts from 0, 5 and 10

    @settings(max_examples=100, deadline=None)
    @given(tilings())
    def test_partition_the_length_within_their_spans(self, tiling: tuple[int, int, int]) -> None:
        owner = np.zeros(tiling[0], int)
        overlap = tiling[2]
        parts = cuts(*tiling)
        for index, ((low, high), (start, stop)) in enumerate(
            zip(cores(*tiling), parts, strict=True)
        ):
            assert start <= low < high <= stop
            owner[low:high] += 1
            if index > 0:
                assert low - start >= overlap // 2
            if index < len(parts) - 1:
                assert stop - high >= overlap // 2
        assert (owner == 1).all()


class TestBlend:
    def test_windows_are_the_products_of_spans(self) -> None:
        assert windows(6, 4, 4, 1) == [(0, 0, 4, 4), (2, 0, 6, 4)]
        assert windows(5, 5, 4, 1) == [(0, 0, 3, 3), (0, 2, 3, 5), (2, 0, 5, 3), (2, 2, 5, 5)]

    @pytest.mark.parametrize(
        ("length", "overlap", "expected"),
        [
            (6, 2, [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3]),
            (3, 0, [1, 1, 1]),
            (3, 9, [0.1, 0.2, 0.1]),
            (1, 4, [0.2]),
        ],
    )
    def test_ramp(self, length: int, overlap: int, expected: list[float]) -> None:
        np.testing.assert_allclose(ramp(length, overlap), expected, rtol=1e-6)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 40), tilings())
    def test_restores_any_array_cut_into_windows(
        self, height: int, width: int, tiling: tuple[int, int, int]
    ) -> None:
        _, tile, overlap = tiling
        values = np.random.default_rng(height).normal(size=(height, width, 2)).astype(np.float32)
        blend = Blend(height, width, 2, overlap)
        for window in windows(height, width, tile, overlap):
            blend.add(window, values[window.slices])
        np.testing.assert_allclose(blend.result(), values, atol=1e-5)

    def test_a_seam_fades_from_one_window_to_the_next(self) -> None:
        blend = Blend(1, 5, 1, overlap=1)
        blend.add(Window(0, 0, 1, 3), np.zeros((1, 3, 1), np.float32))
        blend.add(Window(0, 2, 1, 5), np.ones((1, 3, 1), np.float32))
        np.testing.assert_allclose(blend.result()[0, :, 0], [0, 0, 0.5, 1, 1])


boxes = st.builds(Window.sized, *[st.integers(0, 30)] * 2, *[st.integers(1, 25)] * 2)


class TestOverlap:
    @given(boxes, boxes)
    def test_overlap_is_what_both_cover(self, a: Window, b: Window) -> None:
        both = [np.zeros((60, 60), bool) for _ in range(2)]
        for mask, box in zip(both, (a, b), strict=True):
            mask[box.top : box.top + box.height, box.left : box.left + box.width] = True
        rows, columns = np.nonzero(both[0] & both[1])
        assert a.meets(b) == b.meets(a) == (len(rows) > 0)
        assert a.overlap(b) == b.overlap(a)
        if len(rows):
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert a.overlap(b) == Window.sized(rows.min(), columns.min(), height, width)

    def test_neighbours_that_only_touch_do_not_meet(self) -> None:
        assert not Window.sized(0, 0, 4, 4).meets(Window.sized(0, 4, 4, 4))
        assert not Window.sized(0, 0, 4, 4).meets(Window.sized(4, 0, 4, 4))
        assert Window.sized(0, 0, 4, 4).meets(Window.sized(3, 3, 4, 4))
