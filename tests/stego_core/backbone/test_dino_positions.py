"""Positions of other grids against DINO's rule written out: bicubic, a tenth of a patch off."""

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import nn

from stego_core.backbone.dino_positions import (
    dino_positions,
    has_learned,
    require_learned,
    resample_as_dino,
)
from stego_core.backbone.vit import bare_model, freeze
from stego_core.errors import OptionError

Doubles = NDArray[np.float64]


def cubic(distance: float) -> float:
    """Keys' kernel of a = −¾, as torch interpolates."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def slow_positions(learned: Doubles, grid: tuple[int, int]) -> Doubles:
    """Every place mixes 4×4 learned ones; the borders repeat."""
    height, width, channels = learned.shape
    out = np.zeros((*grid, channels))
    for row, column in np.ndindex(grid):
        y = (row + 0.5) * height / (grid[0] + 0.1) - 0.5
        x = (column + 0.5) * width / (grid[1] + 0.1) - 0.5
        for i in range(math.floor(y) - 1, math.floor(y) + 3):
            for j in range(math.floor(x) - 1, math.floor(x) + 3):
                at = learned[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
                out[row, column] += cubic(y - i) * cubic(x - j) * at
    return out


class TestPositions:
    @pytest.mark.parametrize("grid", [(20, 20), (14, 20), (5, 9), (28, 7), (1, 1)])
    def test_equal_the_loop(self, rng: np.random.Generator, grid: tuple[int, int]) -> None:
        learned = rng.normal(size=(14, 14, 3))
        found = dino_positions(torch.from_numpy(learned), grid)
        np.testing.assert_allclose(found, slow_positions(learned, grid), atol=1e-12)

    def test_of_the_learned_grid_are_the_learned(self, rng: np.random.Generator) -> None:
        learned = torch.from_numpy(rng.normal(size=(4, 4, 2)))
        assert dino_positions(learned, (4, 4)) is learned


def shallow(name: str = "vit_small_patch8_224.dino") -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, depth=1, num_classes=0, dynamic_img_size=True)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model


class TestModel:
    @pytest.mark.parametrize("grid", [(40, 40), (3, 5)])
    def test_reads_the_image_with_dinos_positions(self, grid: tuple[int, int]) -> None:
        """As a model that has learned just these positions for just this size."""
        model, other = shallow(), shallow()
        learned = model.pos_embed.detach()
        own = slow_positions(learned[0, 1:].double().reshape(28, 28, -1).numpy(), grid)
        patches = torch.from_numpy(own.reshape(1, -1, 384)).float()
        other.pos_embed = nn.Parameter(torch.cat([learned[:, :1], patches], dim=1))
        other.patch_embed.grid_size = grid
        resample_as_dino(model)
        image = np.random.default_rng(0).integers(
            0, 256, (1, 8 * grid[0], 8 * grid[1], 3), np.uint8
        )
        found, expected = (freeze(each, 0, "cpu").features(image) for each in (model, other))
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert np.abs(freeze(shallow(), 0, "cpu").features(image) - expected).max() > 1e-3

    def test_of_its_own_size_is_as_before(self) -> None:
        model = shallow()
        image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
        before = freeze(model, 0, "cpu").features(image)
        resample_as_dino(model)
        np.testing.assert_array_equal(freeze(model, 0, "cpu").features(image), before)

    def test_computed_positions_are_refused(self) -> None:
        with torch.device("meta"):
            rotary = bare_model("vit_small_patch16_dinov3")
        assert not has_learned(rotary)
        assert has_learned(shallow())
        with pytest.raises(OptionError, match=r"computes its positions .* leave out --positions"):
            require_learned(rotary, "vit_small_patch16_dinov3")
