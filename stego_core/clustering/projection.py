"""Codes in the plane: their two principal axes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Plane(NamedTuple):
    """The plane in which vectors differ most.

    Attributes:
        mean: (D,) float64, the plane's origin.
        axes: (2, D) float64 of norm 1, zero where the vectors have fewer; the largest component of
            each is positive.
        explained: share of the vectors' variance that the axes hold, 0 to 1.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    explained: float

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> "Plane":
        """The two leading principal axes of vectors (n, D), n at least 1."""
        values = vectors.astype(np.float64)
        mean = values.mean(axis=0)
        _, spread, axes = np.linalg.svd(values - mean, full_matrices=False)
        # Of an axis along which the vectors do not vary, rounding leaves noise of the processor.
        rounding = np.linalg.norm(values) * max(values.shape) * np.finfo(np.float64).eps
        spread = np.where(spread > rounding, spread, 0)
        plane = np.zeros((2, values.shape[1]))
        plane[: len(axes)] = axes[:2] * (spread[:2, None] > 0)
        largest = np.take_along_axis(plane, np.abs(plane).argmax(axis=1)[:, None], axis=1)
        plane *= np.where(largest < 0, -1, 1)  # an axis has no direction of its own
        total = float((spread**2).sum())
        return cls(mean, plane, float((spread[:2] ** 2).sum()) / total if total else 1.0)

    def points(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Coordinates (n, 2) float32 of vectors (n, D)."""
        return np.asarray((vectors - self.mean) @ self.axes.T, np.float32)
