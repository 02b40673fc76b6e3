"""Codes of images of any size: mirrored twins, two sizes, tiles."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from stego_core.backbone.vit import Backbone
from stego_core.clustering.kmeans import unit
from stego_core.head.head import Head
from stego_core.images.geometry import inference_size, resize, windows
from stego_core.masks import patch_codes
from stego_core.masks.patch_codes import Windows, image_codes, mirrored_codes, single_codes

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
SMALL_TILES = Windows(resolution=64, tile=24, tile_overlap=8, refine_tile=32, refine_overlap=8)
WHOLE = replace(SMALL_TILES, tile=4096, refine_tile=4096)


def blocky(height: int, width: int, cell: int, seed: int = 0) -> Image:
    """Rectangles of one colour each, with a little noise."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (-(-height // cell), -(-width // cell), 3))
    image = np.kron(cells, np.ones((cell, cell, 1), int))[:height, :width]
    return (image + rng.integers(-5, 6, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes (B, H, W, 3) of what the backbone reads from now on."""
    shapes: list[tuple[int, ...]] = []
    features = Backbone.features

    def watched(self: Backbone, images: Image) -> Floats:
        shapes.append(images.shape)
        return features(self, images)

    monkeypatch.setattr(Backbone, "features", watched)
    return shapes


class TestMirroring:
    def test_averages_the_code_of_the_image_and_of_its_twin(
        self, local_backbone: Backbone, rng: np.random.Generator
    ) -> None:
        image = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        (found,) = mirrored_codes(image[None], local_backbone, nn.Identity())
        assert (found.shape, found.dtype) == ((2, 3, 3), np.float32)
        kernel = local_backbone.model.kernel.double().numpy()
        normal = (image / 255 - 0.5) / 0.25
        for row in range(2):
            for column in range(3):
                patch = normal[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                for d in range(3):
                    seen, twin = 0.0, 0.0
                    for y, x, c in np.ndindex(4, 4, 3):
                        seen += kernel[d, c, y, x] * patch[y, x, c]
                        twin += kernel[d, c, y, x] * patch[y, 3 - x, c]
                    assert found[row, column, d] == pytest.approx((seen + twin) / 2, abs=1e-4)

    def test_a_mirrored_image_has_mirrored_codes(
        self, tiny_backbone: Backbone, noise_image: Image
    ) -> None:
        head = Head.create(192, 7, torch.Generator().manual_seed(0))
        view = Windows(resolution=32)
        codes = image_codes(noise_image, tiny_backbone, head, view)
        twin = image_codes(noise_image[:, ::-1], tiny_backbone, head, view)
        assert codes.shape == (2, 3, 7)
        np.testing.assert_allclose(twin[:, ::-1], codes, atol=1e-4)


class TestScales:
    """The mirrored twin is read with a shorter short side."""

    def test_averages_the_unit_codes_of_both(
        self, local_backbone: Backbone, noise_image: Image
    ) -> None:
        found = image_codes(noise_image, local_backbone, nn.Identity(), replace(WHOLE, coarse=40))
        rows, columns = inference_size(*noise_image.shape[:2], 40, 4)
        fine, twin = (
            single_codes(resize(image, *size)[None], local_backbone, nn.Identity())[0]
            for image, size in ((noise_image, (64, 92)), (noise_image[:, ::-1], (rows, columns)))
        )
        coarse = twin[:, ::-1]
        assert found.shape == fine.shape == (16, 23, 3)
        for row, column in np.ndindex(16, 23):
            y = np.clip((row + 0.5) * len(coarse) / 16 - 0.5, 0, len(coarse) - 1)
            x = np.clip((column + 0.5) * coarse.shape[1] / 23 - 0.5, 0, coarse.shape[1] - 1)
            between = np.zeros(3)
            for i, j in np.ndindex(coarse.shape[:2]):
                weight = max(1 - abs(y - i), 0) * max(1 - abs(x - j), 0)
                between += weight * coarse[i, j] / np.linalg.norm(coarse[i, j])
            expected = (fine[row, column] / np.linalg.norm(fine[row, column]) + between) / 2
            np.testing.assert_allclose(found[row, column], expected, atol=1e-4)

    def test_reads_each_size_once(
        self, local_backbone: Backbone, noise_image: Image, seen: list[tuple[int, ...]]
    ) -> None:
        image_codes(noise_image, local_backbone, nn.Identity(), replace(WHOLE, coarse=40))
        assert [shape[:2] for shape in seen] == [(1, 64), (1, 40)]

    def test_the_twin_has_windows_twice_as_long(
        self, local_backbone: Backbone, noise_image: Image, seen: list[tuple[int, ...]]
    ) -> None:
        image_codes(noise_image, local_backbone, nn.Identity(), replace(SMALL_TILES, coarse=40))
        (_, *fine, _), (_, *twin, _) = seen  # 64 and 40 pixels high, in windows of 24 and 48
        assert fine == [24, 24]
        assert twin == [40, 32]

    def test_tiles_give_the_codes_of_the_whole_image(
        self, local_backbone: Backbone, noise_image: Image
    ) -> None:
        tiled, whole = (
            image_codes(noise_image, local_backbone, nn.Identity(), replace(view, coarse=40))
            for view in (SMALL_TILES, WHOLE)
        )
        np.testing.assert_allclose(tiled, whole, atol=1e-4)


class TestTiles:
    @pytest.mark.parametrize("size", [(37, 53), (64, 64), (20, 400), (150, 97)])
    def test_tiles_give_the_codes_of_the_whole_image(
        self, local_backbone: Backbone, rng: np.random.Generator, size: tuple[int, int]
    ) -> None:
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        tiled = image_codes(image, local_backbone, nn.Identity(), SMALL_TILES)
        whole = image_codes(image, local_backbone, nn.Identity(), WHOLE)
        height, width = inference_size(*size, 64, 4)
        assert tiled.shape == (height // 4, width // 4, 3)
        np.testing.assert_allclose(tiled, whole, atol=1e-4)

    def test_the_backbone_never_sees_more_than_a_tile(
        self,
        local_backbone: Backbone,
        noise_image: Image,
        seen: list[tuple[int, ...]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(patch_codes, "PIXELS_AT_ONCE", 3 * 24**2)
        image_codes(noise_image, local_backbone, nn.Identity(), SMALL_TILES)
        assert len(seen) > 4
        assert all(shape[0] in (2, 4, 6) and max(shape[1:3]) <= 24 for shape in seen)

    def test_windows_are_read_together(
        self, local_backbone: Backbone, noise_image: Image, seen: list[tuple[int, ...]]
    ) -> None:
        image_codes(noise_image, local_backbone, nn.Identity(), SMALL_TILES)
        height, width = inference_size(*noise_image.shape[:2], 64, 4)
        parts = windows(height // 4, width // 4, 6, 2)
        assert seen == [(2 * len(parts), 4 * parts[0].height, 4 * parts[0].width, 3)]

    def test_attention_changes_tiled_codes_but_little(self, tiny_backbone: Backbone) -> None:
        image = blocky(64, 96, 16)
        view = Windows(resolution=64, tile=64, tile_overlap=32)
        head = nn.Identity()
        tiled = image_codes(image, tiny_backbone, head, view)
        whole = image_codes(image, tiny_backbone, head, replace(view, tile=640))
        assert tiled.shape == whole.shape == (4, 6, 192)
        cosine = (unit(tiled) * unit(whole)).sum(-1)
        assert cosine.min() > 0.5

    def test_pixels_of_a_code_are_those_under_it(self, local_backbone: Backbone) -> None:
        image = np.zeros((64, 128, 3), np.uint8)
        image[40:44, 100:104] = 255  # one patch of a 16×32 map
        codes = image_codes(image, local_backbone, nn.Identity(), SMALL_TILES)
        differs = (abs(codes - codes[0, 0]) > 1e-3).any(-1)
        assert np.argwhere(differs).tolist() == [[10, 25]]
