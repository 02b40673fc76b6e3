"""Refinement of class maps with a fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011).

`_lattice.cpp` is written by hand because the library for this, pydensecrf (`densecrf.py`), takes
many times the time and memory, comes without wheels, and does not build with every Python. Where it
was not compiled, the same is computed in numpy.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.backbone.vit import IMAGENET_MEAN, IMAGENET_STD

COMPILED = find_spec("stego_core.masks._lattice") is not None
"""Whether the installation has the compiled lattice; callers tell people where it has not."""
if TYPE_CHECKING or COMPILED:
    from stego_core.masks._lattice import Lattice, Smoothing, decisions, mean_field
else:
    from stego_core.masks.numpy_lattice import Lattice, Smoothing, decisions, mean_field

SHARPNESS = 2.0
"""Factor of the cosine before the softmax over clusters, as in STEGO."""

Scores = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
"""(H, W), which pixels of an image hold data."""


@dataclass(frozen=True)
class Crf:
    """The dense CRF with its parameters, computed on our lattice; the defaults are STEGO's.

    Attributes:
        iterations: mean-field iterations; 0 leaves the input as it is.
        gaussian_xy: σ of the smoothness kernel, pixels.
        gaussian_weight: its weight (Potts).
        bilateral_xy: σ of the appearance kernel's position, pixels.
        bilateral_rgb: σ of its colour, levels of 0–255.
        bilateral_weight: its weight (Potts).
        sharpness: of the unary −log softmax(sharpness · cos(code, centroid)).
        released_pixels: the colours are those that STEGO's evaluation hands over
            (`released_pixels`); they and their order change a few pixels.
    """

    iterations: int = 10
    gaussian_xy: float = 1.0
    gaussian_weight: float = 3.0
    bilateral_xy: float = 67.0
    bilateral_rgb: float = 3.0
    bilateral_weight: float = 4.0
    sharpness: float = SHARPNESS
    released_pixels: bool = False

    def refine(self, log_probabilities: Scores, image: Pixels, valid: Mask | None = None) -> Scores:
        """Marginals after mean-field inference with unary −log p.

        Args:
            log_probabilities: (K, H, W) float32, up to a constant of each pixel.
            image: (H, W, 3) uint8 RGB of the same size.
            valid: (H, W), which pixels hold data, at least one; None where all do. The others are
                no part of the field: they send no message and get none.

        Returns:
            (K, H, W) float32; over K they sum to 1. Where there is no data all are 1 / K.
        """
        classes, height, width = log_probabilities.shape
        if self.iterations == 0 or classes == 1:
            return torch.from_numpy(np.ascontiguousarray(log_probabilities)).softmax(dim=0).numpy()
        scores = log_probabilities.reshape(classes, -1)
        data = None if valid is None else valid.ravel()
        marginals = self._marginals(scores, image, data)
        if data is not None:
            marginals[:, ~data] = 1 / classes
        return marginals.reshape(classes, height, width)

    def decide(
        self, log_probabilities: Scores, image: Pixels, valid: Mask | None = None
    ) -> NDArray[np.uint8]:
        """The class of each pixel and 255 times its margin after `refine`: (2, H, W) uint8.

        The margin is the best marginal less the second best.
        """
        marginals = self.refine(log_probabilities, image, valid)
        return decisions(marginals.reshape(len(marginals), -1)).reshape(2, *image.shape[:2])

    def _marginals(self, scores: Scores, image: Pixels, data: Mask | None) -> Scores:
        """(K, N) of scores (K, N); pixels without `data` (N,) have any. None: all have data."""
        height, width, _ = image.shape
        alike = Lattice(self._appearance(image), data)
        near = Smoothing(height, width, self.gaussian_xy, data)
        kernels = (alike, self.bilateral_weight), (near, self.gaussian_weight)
        return mean_field(scores, *kernels, self.iterations)

    def _appearance(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H · W, 5) features of the filter over pixels that are near and of like colour."""
        seen = released_pixels(image) if self.released_pixels else image
        colours = seen.reshape(-1, 3).astype(np.float32) / np.float32(self.bilateral_rgb)
        near = positions(image.shape[0], image.shape[1], self.bilateral_xy)
        return np.concatenate([near, colours], axis=1)


def released_pixels(image: Pixels) -> Pixels:
    """An image (H, W, 3) uint8 RGB as STEGO's evaluation hands it to the CRF: (H, W, 3) uint8 BGR.

    There it is normalised to float32, scaled back, and cut off to bytes, so that many values are
    one level darker. The lattice rounds positions in the order of the dimensions, so that blue
    first gives slightly other messages than red first.
    """
    return _bytes_handed_over()[image, np.arange(3)][..., ::-1]


@lru_cache(maxsize=1)
def _bytes_handed_over() -> NDArray[np.uint8]:
    """(256, 3) uint8: each level of red, green and blue after normalisation and back, cut off."""
    one, mean, std = (np.asarray(x, np.float32) for x in (255, IMAGENET_MEAN, IMAGENET_STD))
    levels = np.arange(256, dtype=np.float32)[:, None] / one
    scaled = (levels - mean) / std
    return ((scaled * std + mean) * one).astype(np.uint8)


def positions(height: int, width: int, sigma: float) -> NDArray[np.float32]:
    """(height · width, 2) float32 x and y of each pixel, in units of sigma."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32) / np.float32(sigma)
    return np.stack([columns.ravel(), rows.ravel()], axis=1)
