"""Images of any size to class maps: mirroring, tiles, upsampling, scores, bands, windows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from stego_core.backbone.vit import Backbone
from stego_core.clustering.kmeans import unit
from stego_core.errors import OptionError
from stego_core.images import upsampling
from stego_core.images.geometry import Window, resize
from stego_core.images.upsampling import scores_at, upsampled
from stego_core.masks.crf import Crf
from stego_core.masks.patch_codes import Windows, mirrored_codes
from stego_core.masks.segmenter import (
    Segmenter,
    in_windows,
    refined,
    scorer,
)

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
SMALL_TILES = Windows(resolution=64, tile=24, tile_overlap=8, refine_tile=32, refine_overlap=8)
WHOLE = replace(SMALL_TILES, tile=4096, refine_tile=4096)


def floats(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.normal(size=shape).astype(np.float32)


@st.composite
def maps_and_windows(draw: st.DrawFn, channels: int) -> tuple[Floats, tuple[int, int], Window]:
    """A map (h, w, channels), an image's size, and a window of the image."""
    h, w, height, width = (draw(st.integers(1, 12)) for _ in range(4))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    maps = floats(np.random.default_rng(draw(st.integers(0, 999))), h, w, channels)
    return maps, (height, width), Window(top, left, bottom, right)


@pytest.fixture
def segmenter(local_backbone: Backbone) -> Segmenter:
    """Five clusters of colour and texture; no refinement."""
    centroids = np.asarray(unit(np.random.default_rng(1).normal(size=(5, 3))), np.float32)
    return Segmenter(local_backbone, nn.Identity(), centroids, Crf(iterations=0), WHOLE)


def blocky(height: int, width: int, cell: int, seed: int = 0) -> Image:
    """Rectangles of one colour each, with a little noise."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (-(-height // cell), -(-width // cell), 3))
    image = np.kron(cells, np.ones((cell, cell, 1), int))[:height, :width]
    return (image + rng.integers(-5, 6, image.shape)).clip(0, 255).astype(np.uint8)


def slow_bilinear(maps: Floats, size: tuple[int, int]) -> NDArray[np.float64]:
    """Every pixel centre mixes the four nearest cell centres; borders repeat."""
    h, w, depth = maps.shape
    out = np.zeros((*size, depth))
    for y in range(size[0]):
        for x in range(size[1]):
            v = min(max((y + 0.5) * h / size[0] - 0.5, 0), h - 1)
            u = min(max((x + 0.5) * w / size[1] - 0.5, 0), w - 1)
            top, left = math.floor(v), math.floor(u)
            for row, weight_y in ((top, 1 - (v - top)), (top + 1, v - top)):
                for column, weight_x in ((left, 1 - (u - left)), (left + 1, u - left)):
                    if weight_y * weight_x > 0:
                        out[y, x] += weight_y * weight_x * maps[row, column]
    return out


class TestUpsampling:
    SIZES = (
        ((3, 4), (11, 9)),
        ((1, 1), (5, 7)),
        ((4, 3), (4, 3)),
        ((5, 1), (2, 3)),
        ((9, 8), (1, 1)),
    )

    @pytest.mark.parametrize(("cells", "size"), SIZES)
    def test_is_bilinear_at_pixel_centres(
        self, rng: np.random.Generator, cells: tuple[int, int], size: tuple[int, int]
    ) -> None:
        maps = floats(rng, *cells, 2)
        found = upsampled(maps, size, Window(0, 0, *size))
        np.testing.assert_allclose(found, slow_bilinear(maps, size), atol=1e-5)
        by_torch = torch.nn.functional.interpolate(
            torch.from_numpy(maps).permute(2, 0, 1)[None], size, mode="bilinear"
        )
        np.testing.assert_allclose(found, by_torch[0].permute(1, 2, 0), atol=1e-5)
        assert found.dtype == np.float32

    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def test_a_window_is_cut_from_the_whole(self, data: st.DataObject) -> None:
        maps, size, window = data.draw(maps_and_windows(3))
        whole = upsampled(maps, size, Window(0, 0, *size))
        found = upsampled(maps, size, window)
        np.testing.assert_allclose(found, whole[window.slices], atol=1e-6)


class TestScores:
    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def test_are_the_sharpened_cosines_of_interpolated_codes(self, data: st.DataObject) -> None:
        codes, size, window = data.draw(maps_and_windows(4))
        centroids = np.asarray(unit(floats(np.random.default_rng(0), 5, 4)), np.float32)
        found = scorer(centroids, Crf(sharpness=2.5))(codes, size, window)
        assert (found.shape, found.dtype) == ((5, window.height, window.width), np.float32)
        full = slow_bilinear(codes, size)[window.slices]
        for y, x in np.ndindex(*full.shape[:2]):
            code = full[y, x].astype(float)
            cosines = [float(code @ c) / (math.hypot(*code) * math.hypot(*c)) for c in centroids]
            np.testing.assert_allclose(found[:, y, x], 2.5 * np.array(cosines), atol=1e-3)

    def test_a_zero_code_belongs_to_all_clusters_alike(self) -> None:
        score = scorer(np.eye(3, dtype=np.float32), Crf())
        assert not score(np.zeros((1, 2, 3), np.float32), (4, 4), Window(0, 0, 4, 4)).any()

    def test_rounding_where_opposite_codes_meet_is_not_blown_up(self) -> None:
        code = np.array([0.3, 0.1, 0.7], np.float32)
        codes = np.stack([code, -code * np.float32(1 + 1e-6)])[:, None]
        score = scorer(np.eye(3, dtype=np.float32), Crf(sharpness=1))
        for height in (2, 5, 7, 1001, 100_001):
            found = score(codes, (height, 1), Window(0, 0, height, 1))
            assert abs(found).max() < 1.001

    @pytest.mark.parametrize("floats_at_once", [1, 50, 333])
    def test_bands_equal_one_band(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, floats_at_once: int
    ) -> None:
        codes, size, window = floats(rng, 3, 4, 5), (30, 41), Window(3, 7, 29, 40)
        heights = []

        def score(full: Floats) -> Floats:
            heights.append(full.shape[0])
            return full[..., :2] * 3

        whole = scores_at(score, codes, size, window)
        assert (whole.shape, heights) == ((2, 26, 33), [26])
        np.testing.assert_allclose(
            whole,
            3 * slow_bilinear(codes, size)[window.slices][..., :2].transpose(2, 0, 1),
            atol=1e-4,
        )
        monkeypatch.setattr(upsampling, "BAND_FLOATS", floats_at_once)
        np.testing.assert_allclose(scores_at(score, codes, size, window), whole, atol=1e-5)
        rows = max(floats_at_once // (33 * 5), 1)
        assert max(heights[1:]) == rows
        assert sum(heights[1:]) == 26


class TestWindows:
    @pytest.mark.parametrize("size", [(1, 1), (1, 2000), (37, 53), (32, 33), (100, 40)])
    def test_every_pixel_is_decided_at_its_own_place(self, size: tuple[int, int]) -> None:
        rows, columns = np.indices(size)
        truth = ((7 * rows + 3 * columns) % 251).astype(np.uint8)
        found = in_windows(size, SMALL_TILES, lambda window: np.stack([truth[window.slices]] * 2))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, [truth, truth])

    def test_what_lies_near_a_windows_inner_border_is_thrown_away(self) -> None:
        size = (70, 90)
        view = SMALL_TILES  # windows of 32 that share at least 8 pixels

        def classify(window: Window) -> NDArray[np.uint8]:
            part = np.zeros((window.height, window.width), np.uint8)
            part[: 4 * (window.top > 0)] = 1
            part[:, : 4 * (window.left > 0)] = 1
            part[window.height - 4 * (window.bottom < size[0]) :] = 1
            part[:, window.width - 4 * (window.right < size[1]) :] = 1
            return np.stack([part, part])

        assert not in_windows(size, view, classify).any()

    def test_overlap_must_be_smaller_than_the_tile(self, segmenter: Segmenter) -> None:
        view = replace(WHOLE, refine_tile=8, refine_overlap=8)
        with pytest.raises(OptionError, match=r"overlap 8 must be .* the tile 8"):
            replace(segmenter, view=view)(np.zeros((9, 9, 3), np.uint8))


class TestSegmenter:
    @pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (37, 53), (2, 3)])
    @pytest.mark.parametrize("iterations", [0, 2])
    def test_any_size_gets_a_class_for_every_pixel(
        self, segmenter: Segmenter, size: tuple[int, int], iterations: int
    ) -> None:
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        full = replace(segmenter, crf=Crf(iterations=iterations), view=SMALL_TILES)
        found = full(image)
        assert (found.shape, found.dtype) == (size, np.uint8)
        assert found.max() < 5

    def test_default_view_takes_extreme_images(self, tiny_backbone: Backbone) -> None:
        centroids = np.eye(3, 192, dtype=np.float32)
        segmenter = Segmenter(tiny_backbone, nn.Identity(), centroids)
        for size in ((1, 1), (1, 2000)):
            assert segmenter(np.full((*size, 3), 80, np.uint8)).shape == size

    def test_classes_are_the_nearest_centroids_of_upsampled_codes(
        self, segmenter: Segmenter, noise_image: Image
    ) -> None:
        codes = segmenter.codes(noise_image)
        expected = unit(slow_bilinear(codes, (37, 53))) @ segmenter.centroids.T.astype(float)
        clear = np.diff(np.sort(expected, axis=-1), axis=-1)[..., -1] > 1e-4
        assert clear.mean() > 0.99
        score = scorer(segmenter.centroids, segmenter.crf)
        found = refined(codes, noise_image, score, segmenter.crf, segmenter.view).classes
        np.testing.assert_array_equal(found[clear], expected.argmax(-1)[clear])
        assert len(np.unique(found)) > 2

    def test_tiles_do_not_change_the_map(self, segmenter: Segmenter) -> None:
        image = blocky(150, 230, 30)
        tiled = replace(segmenter, view=SMALL_TILES)(image)
        assert (tiled == segmenter(image)).mean() > 0.999  # rounding at the edge of two clusters

    def test_refinement_windows_change_little(self, segmenter: Segmenter) -> None:
        image = blocky(150, 230, 30)
        full = replace(segmenter, crf=Crf(iterations=5, bilateral_xy=10))
        view = replace(WHOLE, refine_tile=64, refine_overlap=32)
        assert (replace(full, view=view)(image) == full(image)).mean() > 0.98

    def test_refinement_uses_the_pixels_of_its_window(self, segmenter: Segmenter) -> None:
        """Class edges follow the image, which is sharper than its codes, in every window."""
        image = np.full((96, 160, 3), (200, 40, 40), np.uint8)
        edge = 70 + (np.arange(96) // 3)[:, None]
        image[np.arange(160)[None, :] > edge] = (40, 40, 200)
        codes = segmenter.codes(image)
        centroids = np.asarray(unit(np.stack([codes[0, 0], codes[-1, -1]])), np.float32)
        view = replace(SMALL_TILES, resolution=16)  # a code covers 24 pixels
        blurred = replace(segmenter, centroids=centroids, view=view)
        truth = np.arange(160)[None, :] > edge
        plain = (blurred(image) == truth).mean()
        sharp = (replace(blurred, crf=Crf())(image) == truth).mean()
        assert plain < 0.99
        assert sharp > plain + 0.005

    def test_is_deterministic_and_leaves_its_inputs_alone(
        self, segmenter: Segmenter, noise_image: Image
    ) -> None:
        kept = noise_image.copy()
        full = replace(segmenter, crf=Crf(iterations=3))
        assert np.array_equal(full(noise_image), full(noise_image))
        assert np.array_equal(kept, noise_image)

    def test_codes_are_those_of_the_resized_image(
        self, segmenter: Segmenter, local_backbone: Backbone, noise_image: Image
    ) -> None:
        resized = resize(noise_image, 64, 92)
        (expected,) = mirrored_codes(resized[None], local_backbone, nn.Identity())
        np.testing.assert_array_equal(segmenter.codes(noise_image), expected)
