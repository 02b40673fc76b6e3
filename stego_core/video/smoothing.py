"""Temporal smoothing of a video's codes: the mean over frames where little changes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stego_core.images.geometry import resize

CELLS = 4
"""A patch's colours are compared as CELLS² means: noise of single pixels is no change."""
TOLERANCE = 24.0
"""Colour difference, root mean square of 0 to 255, at which a neighbour counts 1/e."""


@dataclass(frozen=True)
class Frame:
    """Codes (h, w, D) float32 of a frame, and (h · CELLS, w · CELLS, 3) uint8 mean colours."""

    codes: NDArray[np.float32]
    colours: NDArray[np.uint8]

    @classmethod
    def of(cls, codes: NDArray[np.float32], image: NDArray[np.uint8]) -> "Frame":
        """A frame from its codes (h, w, D) and its image (H, W, 3) uint8."""
        return cls(codes, resize(image, codes.shape[0] * CELLS, codes.shape[1] * CELLS))


def change(first: Frame, second: Frame) -> NDArray[np.float32]:
    """(h, w) float32: mean squared colour difference of each patch, of 0 to 255 squared."""
    height, width = first.codes.shape[:2]
    squared = (first.colours.astype(np.float32) - second.colours) ** 2
    return np.asarray(squared.reshape(height, CELLS, width, CELLS * 3).mean(axis=(1, 3)))


def smoothed(
    frame: Frame, neighbours: Iterable[Frame], tolerance: float = TOLERANCE
) -> NDArray[np.float32]:
    """Codes (h, w, D) float32 of a frame, averaged with its neighbours' at the same patch:

        c'(p) = Σ_j w_j(p) c_j(p) / Σ_j w_j(p),   w_j(p) = exp(−change_j(p) / tolerance²),

    the frame itself with weight 1. Moving objects look different there in the neighbours and keep
    their own codes. Neighbours of another size are left out.
    """
    total = frame.codes.astype(np.float32, copy=True)
    weights = np.ones(frame.codes.shape[:2], np.float32)
    for other in neighbours:
        if other.codes.shape != frame.codes.shape:
            continue
        weight = np.exp(-change(frame, other) / tolerance**2)
        total += weight[..., None] * other.codes
        weights += weight
    return total / weights[..., None]
