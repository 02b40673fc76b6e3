"""Small stand-ins that several core tests share."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.backbone.vit import Backbone, bare_model, freeze

PATCH = 4


class LocalModel(nn.Module):
    """A "transformer" whose patch features depend on the patch alone, and on its orientation."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.kernel = torch.randn((channels, 3, PATCH, PATCH), generator=generator) / PATCH

    def forward_intermediates(self, images: Tensor, **_: Any) -> list[Tensor]:
        return [torch.nn.functional.conv2d(images, self.kernel, stride=PATCH)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on a shared machine: threads would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def local_backbone() -> Backbone:
    """A backbone of 4-pixel patches without attention: tiles cannot change its features."""
    return Backbone(
        LocalModel(), 0, PATCH, 3, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), device="cpu"
    )


@pytest.fixture(scope="session")
def tiny_backbone() -> Backbone:
    """A real ViT with random weights: 16-pixel patches, 192 channels, 12 blocks."""
    return freeze(bare_model("vit_tiny_patch16_224"), None, "cpu")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def noise_image(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A (37, 53, 3) image of noise."""
    return rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
