"""Sums of confidence margins: they say which pixels and images to look at first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

SURE = 250
"""A pixel is uncertain if its margin, of 255, is below this."""
LOG_UNCERTAINTY = np.log((255.5 - np.arange(256)) / 255.5)
"""log(1 − margin) of each margin; half a step from 1 where it is 255."""
IMAGE_WEIGHT = 2
"""Weight of an image's own margins in its uncertainty; the margins that its classes have in the
whole dump weigh 1 (docs/notes/uncertainty.md)."""


@dataclass(frozen=True)
class MarginSums:
    """How sure the mask of an image is, or those of a dump.

    Attributes:
        pixels: (K,) int64 of each class.
        doubtful: (K,) int64 of each class whose margin is below SURE.
        margins: (K,) float64, sum of their margins, each 0 to 1.
        log_doubts: (K,) float64, sum of the logarithms of 1 − their margin.
    """

    pixels: NDArray[np.int64]
    doubtful: NDArray[np.int64]
    margins: NDArray[np.float64]
    log_doubts: NDArray[np.float64]

    @classmethod
    def of(cls, classes: NDArray[np.uint8], margins: NDArray[np.uint8], count: int) -> "MarginSums":
        """Of class ids (H, W) uint8 and their margins (H, W) uint8, both of 255.

        Ids from `count` on, such as VOID_BYTE, are not counted.
        """
        flat, weights = classes.ravel(), margins.ravel()
        if flat.size and flat.max() >= count:
            flat, weights = flat[flat < count], weights[flat < count]
        return cls(
            np.bincount(flat, minlength=count),
            np.bincount(flat[weights < SURE], minlength=count),
            np.bincount(flat, weights, minlength=count) / 255,
            np.bincount(flat, LOG_UNCERTAINTY[weights], minlength=count).astype(np.float64),
        )

    @classmethod
    def total(cls, parts: Iterable["MarginSums"], count: int) -> "MarginSums":
        """Of several images together, for so many classes."""
        nothing = np.empty(0, np.uint8)
        return sum(parts, cls.of(nothing, nothing, count))

    def __add__(self, other: "MarginSums") -> "MarginSums":
        """Of both."""
        names = (field.name for field in fields(self))
        return MarginSums(*(getattr(self, name) + getattr(other, name) for name in names))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "MarginSums":
        """Back from `document`; sums that an earlier version did not write are NaN."""
        unknown = np.full(len(document["pixels"]), np.nan)
        return cls(*(np.asarray(document.get(field.name, unknown)) for field in fields(cls)))

    def document(self) -> dict[str, list[float]]:
        """For records and manifests."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    def shares(self) -> NDArray[np.float64]:
        """(K,) share of the pixels that each class has, 0 to 1."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    @property
    def margin(self) -> float:
        """Mean margin of all pixels, 0 to 1."""
        return self._mean(self.margins)

    @property
    def uncertain_share(self) -> float:
        """Share of the pixels that are uncertain, 0 to 1."""
        return self._mean(self.doubtful)

    @property
    def own_uncertainty(self) -> float:
        """Geometric mean of 1 − margin of all pixels, above 0 to 1."""
        return float(np.exp(self._mean(self.log_doubts)))

    def _mean(self, sums: NDArray[Any]) -> float:
        return float(sums.sum() / max(int(self.pixels.sum()), 1))


def uncertainty(
    own: NDArray[np.floating] | float, shares: NDArray[np.floating], dump: MarginSums
) -> NDArray[np.float64]:
    """Uncertainty of images, above 0 to 1: of their own margins and of their classes in the dump.

    The CRF makes most pixels almost sure, and the smallest margins lie along outlines, which
    every image has. A mean of logarithms also notices margins of 0.94 to 0.98, which are wrong
    more than twice as often as larger ones. A class that is uncertain in the whole dump is often a
    mixture, and wrong even in an image whose margins are large.

    Args:
        own: (...) geometric mean of 1 − margin of each image's pixels, weighted `IMAGE_WEIGHT`.
        shares: (..., K) of its pixels that are of each class.
        dump: of all its images; the geometric mean that its classes have there is weighted 1.
    """
    usual = shares @ (dump.log_doubts / np.maximum(dump.pixels, 1))
    return np.asarray(np.exp((IMAGE_WEIGHT * np.log(own) + usual) / (IMAGE_WEIGHT + 1)))
