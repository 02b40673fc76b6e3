"""Which pixels and images to look at first: margins between the two best classes, added up."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SURE = 250
"""A pixel whose margin is below this, of 255, is doubtful."""
MISSING = np.log((255.5 - np.arange(256)) / 255.5)
"""log(1 − margin) of each margin; half a step from 1 where it is 255."""


@dataclass(frozen=True)
class Confidence:
    """How sure one image's mask is.

    Attributes:
        pixels: (K,) int64 of each class.
        doubtful: (K,) int64, those of them whose margin is below SURE.
        margins: (K,) float64, sum of their margins, each 0 to 1.
    """

    pixels: NDArray[np.int64]
    doubtful: NDArray[np.int64]
    margins: NDArray[np.float64]

    @classmethod
    def of(cls, classes: NDArray[np.uint8], margins: NDArray[np.uint8], count: int) -> "Confidence":
        """Of class ids (H, W) uint8 below `count` and their margins (H, W) uint8."""
        flat, weights = classes.ravel(), margins.ravel()
        return cls(
            np.bincount(flat, minlength=count),
            np.bincount(flat[weights < SURE], minlength=count),
            np.bincount(flat, weights, minlength=count) / 255,
        )

    @classmethod
    def total(cls, parts: Iterable["Confidence"], count: int) -> "Confidence":
        """Of several images together."""
        result = cls(np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count))
        for part in parts:
            result = cls(
                result.pixels + part.pixels,
                result.doubtful + part.doubtful,
                result.margins + part.margins,
            )
        return result

    def shares(self) -> NDArray[np.float64]:
        """(K,) share of the pixels that each class has, 0 to 1."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    @property
    def margin(self) -> float:
        """Mean margin of all pixels, 0 to 1."""
        return float(self.margins.sum() / max(int(self.pixels.sum()), 1))

    @property
    def doubtful_share(self) -> float:
        """Share of the pixels that are doubtful, 0 to 1."""
        return float(self.doubtful.sum() / max(int(self.pixels.sum()), 1))


def doubt(margins: NDArray[np.uint8]) -> float:
    """How doubtful an image is: the geometric mean of 1 − margin, above 0 to 1.

    The CRF makes most pixels all but sure, and the smallest margins lie along outlines, which
    every image has. A mean of logarithms also notices margins of 0.94 to 0.98, which are wrong
    more than twice as often as larger ones (docs/names.md).

    Args:
        margins: (H, W) uint8.
    """
    return float(np.exp(MISSING[margins].mean()))
