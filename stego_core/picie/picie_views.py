"""PiCIE's views of an image: two colourings, and one geometric transform that both share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from stego_core.backbone import timm_library

with timm_library.without_compiler():
    from torchvision.transforms.v2 import functional as transforms

Pixels = NDArray[np.uint8]

STRIDE = 4
"""Pixels of a view's side for each cell of the feature map's."""
JITTER = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1}
"""How far a colouring goes at most: factors from 1, hue in turns of the colour circle."""
JITTERED, GREYED, BLURRED, FLIPPED = 0.8, 0.2, 0.5, 0.5
"""Probabilities of each jitter, of grey, of blur and of a flip."""
BLUR = (0.1, 2.0)
"""Least and greatest standard deviation of the blur, pixels of the image before it is resized."""
CROP = (0.5, 1.0)
"""Least and greatest side of a crop, as a share of the image's side."""


@dataclass(frozen=True)
class Photometric:
    """One colouring of an image, by its sampled parameters.

    Attributes:
        brightness, contrast, saturation: factors; 1 changes nothing.
        hue: turn of the colour circle; 0 changes nothing.
        grey: whether the colours are taken away.
        blur: standard deviation of a Gaussian, pixels; 0 is none.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    grey: bool = False
    blur: float = 0.0

    def __call__(self, image: Tensor) -> Tensor:
        """The image (3, H, W) uint8 in these colours."""
        image = transforms.adjust_brightness(image, self.brightness)
        image = transforms.adjust_contrast(image, self.contrast)
        image = transforms.adjust_saturation(image, self.saturation)
        if self.hue:
            image = transforms.adjust_hue(image, self.hue)
        if self.grey:
            image = transforms.rgb_to_grayscale(image, num_output_channels=3)
        if self.blur:
            size = 2 * int(np.ceil(2 * self.blur)) + 1
            image = transforms.gaussian_blur(image, [size, size], [self.blur, self.blur])
        return image


@dataclass(frozen=True)
class Geometric:
    """A flip, then a square crop that is resized to a whole view: g of the paper.

    The crop lies on the cells of the feature map, so that it cuts an image and the image's feature
    map along the same lines.

    Attributes:
        flipped: whether left and right are exchanged, before the crop.
        top, left, side: the crop, in cells.
        cells: of the whole feature map's side.
    """

    flipped: bool
    top: int
    left: int
    side: int
    cells: int

    def __call__(self, maps: Tensor, size: int) -> Tensor:
        """Maps (C, S, S), an image's or its features', transformed: (C, size, size).

        S is a multiple of `cells`. Bilinear, pixel centres aligned; antialiased where it shrinks.
        """
        pixels = maps.shape[-1] // self.cells
        rows, columns = (
            slice(first * pixels, (first + self.side) * pixels) for first in (self.top, self.left)
        )
        whole = maps.flip(-1) if self.flipped else maps
        return resized(whole[..., rows, columns], size)


class Views(NamedTuple):
    """How an image is shown in an epoch: view 1 is g of its first colouring.

    View 2 is its second colouring, to whose feature map g is applied.
    """

    first: Photometric
    second: Photometric
    geometric: Geometric


def resized(maps: Tensor, size: int) -> Tensor:
    """Maps (C, S, S) resized to (C, size, size), bilinear; antialiased where they shrink."""
    shrinks = maps.shape[-1] > size
    return nnf.interpolate(
        maps[None], (size, size), mode="bilinear", align_corners=False, antialias=shrinks
    )[0]


def sample_views(cells: int, generator: np.random.Generator) -> Views:
    """The views of one image, whose feature map has `cells` × `cells` cells."""
    first, second = sample_photometric(generator), sample_photometric(generator)
    return Views(first, second, sample_geometric(cells, generator))


def sample_photometric(generator: np.random.Generator) -> Photometric:
    """One colouring."""
    jitters = {
        name: float(generator.uniform(-most, most)) if generator.random() < JITTERED else 0.0
        for name, most in JITTER.items()
    }
    hue = jitters.pop("hue")
    grey = bool(generator.random() < GREYED)
    blur = float(generator.uniform(*BLUR)) if generator.random() < BLURRED else 0.0
    return Photometric(
        **{n: 1 + value for n, value in jitters.items()}, hue=hue, grey=grey, blur=blur
    )


def sample_geometric(cells: int, generator: np.random.Generator) -> Geometric:
    """One geometric transform."""
    flipped = bool(generator.random() < FLIPPED)
    side = max(round(generator.uniform(*CROP) * cells), 1)
    top, left = (int(number) for number in generator.integers(cells - side + 1, size=2))
    return Geometric(flipped, top, left, side, cells)


def render_first(image: Pixels, views: Views, size: int) -> Tensor:
    """View 1 of a square image (S, S, 3) uint8 RGB: (3, size, size) float32 in [0, 1].

    g cuts the image as it is held, so that a crop is as sharp as its source.
    """
    return views.geometric(_floats(views.first(_tensor(image))), size)


def render_second(image: Pixels, views: Views, size: int) -> Tensor:
    """View 2, before g, of a square image (S, S, 3) uint8: (3, size, size) float32 in [0, 1]."""
    return resized(_floats(views.second(_tensor(image))), size)


def render_plain(image: Pixels, size: int) -> Tensor:
    """The evaluation's view of a square image (S, S, 3) uint8 RGB: (3, size, size) in [0, 1]."""
    return resized(_floats(_tensor(image)), size)


def transformed(maps: Tensor, transforms: Sequence[Geometric]) -> Tensor:
    """Each feature map of (B, D, h, h) under its image's g: of the same shape."""
    pairs = zip(maps, transforms, strict=True)
    return torch.stack([geometric(each, maps.shape[-1]) for each, geometric in pairs])


def _tensor(image: Pixels) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)


def _floats(image: Tensor) -> Tensor:
    return image.float() / 255
