"""Which pixels and images to look at first: margins between the two best classes, added up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

SURE = 250
"""A pixel whose margin is below this, of 255, is doubtful."""
LOG_UNCERTAINTY = np.log((255.5 - np.arange(256)) / 255.5)
"""log(1 − margin) of each margin; half a step from 1 where it is 255."""
IMAGE_WEIGHT = 2
"""So much an image's own margins weigh in its doubt, beside 1 for those that its classes have in
the whole dump (docs/notes/uncertainty.md)."""


@dataclass(frozen=True)
class MarginSums:
    """How sure the mask of an image is, or those of a dump.

    Attributes:
        pixels: (K,) int64 of each class.
        doubtful: (K,) int64, those of them whose margin is below SURE.
        margins: (K,) float64, sum of their margins, each 0 to 1.
        log_doubts: (K,) float64, sum of the logarithms of 1 − their margin.
    """

    pixels: NDArray[np.int64]
    doubtful: NDArray[np.int64]
    margins: NDArray[np.float64]
    log_doubts: NDArray[np.float64]

    @classmethod
    def of(cls, classes: NDArray[np.uint8], margins: NDArray[np.uint8], count: int) -> "MarginSums":
        """Of class ids (H, W) uint8 below `count` and their margins (H, W) uint8; other ids, such
        as 255 where there is no data, are not counted.
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
        """Of several images together."""
        pixels, values = np.zeros(count, np.int64), np.zeros(count)
        result = cls(pixels, pixels, values, values)
        for part in parts:
            result = cls(
                result.pixels + part.pixels,
                result.doubtful + part.doubtful,
                result.margins + part.margins,
                result.log_doubts + part.log_doubts,
            )
        return result

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "MarginSums":
        """Back from `document`; what an earlier version did not write is not a number."""
        unknown = np.full(len(document["pixels"]), np.nan)
        return cls(*(np.asarray(document.get(each.name, unknown)) for each in fields(cls)))

    def document(self) -> dict[str, list[float]]:
        """For records and manifests."""
        return {each.name: getattr(self, each.name).tolist() for each in fields(self)}

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

    @property
    def own_doubt(self) -> float:
        """Geometric mean of 1 − margin of all pixels, above 0 to 1."""
        return float(np.exp(self.log_doubts.sum() / max(int(self.pixels.sum()), 1)))


def uncertainty(
    own: NDArray[np.floating] | float, shares: NDArray[np.floating], dump: MarginSums
) -> NDArray[np.float64]:
    """How doubtful images are, above 0 to 1: their own doubt, and that of their classes everywhere.

    The CRF makes most pixels all but sure, and the smallest margins lie along outlines, which
    every image has. A mean of logarithms also notices margins of 0.94 to 0.98, which are wrong
    more than twice as often as larger ones. A class that is doubtful in the whole dump is often a
    mixture, and wrong in an image that happens to be sure of it.

    Args:
        own: (...) geometric mean of 1 − margin of each image's pixels.
        shares: (..., K) of its pixels that are of each class.
        dump: of all its images.

    Returns:
        (...) geometric mean of 1 − margin of its pixels, weighted `OWN`, and of those that its
        classes have in the dump, weighted 1.
    """
    usual = shares @ (dump.log_doubts / np.maximum(dump.pixels, 1))
    return np.asarray(np.exp((IMAGE_WEIGHT * np.log(own) + usual) / (IMAGE_WEIGHT + 1)))
