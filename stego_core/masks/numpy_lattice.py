"""The filters of `_lattice.cpp` in numpy, for installations without a compiler.

The same filters in float32, where compiled values have 12 bits: marginals differ by rounding. It
takes about ten times the time, and more memory.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse, special

MOST_DIMENSIONS = 6
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Keys = NDArray[np.uint64]
"""Points of the lattice, d coordinates of so many bits side by side; the last follows from them."""


class Lattice:
    """A Gaussian filter of σ = 1 on the permutohedral lattice, symmetrically normalised."""

    def __init__(self, features: Floats, valid: Mask | None = None) -> None:
        """A filter over pixels with features (N, 1 to 6), in units of σ.

        Pixels that are not `valid` (N,) take no part; None: all are.

        Raises:
            ValueError: features reach further than the lattice can number.
        """
        if features.ndim != 2 or not 1 <= features.shape[1] <= MOST_DIMENSIONS:
            raise ValueError("expected features (pixels, 1 to 6)")
        self.pixels, d = features.shape
        counted = np.ones(self.pixels, np.bool_) if valid is None else valid
        points, weights = simplices(features[counted].astype(np.float32))
        keys, vertices = np.unique(_keys(points), return_inverse=True)
        ends = np.concatenate([[0], np.cumsum(counted * (d + 1))])
        shape = (self.pixels, len(keys))
        self._slice = sparse.csr_array((weights.ravel(), vertices.ravel(), ends), shape=shape)
        self._neighbours = [_neighbours(keys, d, axis) for axis in range(d + 1)]
        self._normalise(d)

    def filter(self, values: Floats) -> Floats:
        """(N, K) values of the pixels, each with what it gets from all of them."""
        at = self._slice.T @ values
        for before, after in self._neighbours:
            padded = np.concatenate([at, np.zeros((1, at.shape[1]), np.float32)])
            at = at + np.float32(0.5) * (padded[before] + padded[after])
        return np.asarray(self._slice @ at)

    def _normalise(self, d: int) -> None:
        """Divide by the roots of the filter's answer to ones: D^−½ K D^−½."""
        scale = np.float32(1 / (1 + 2.0**-d))
        answer = self.filter(np.ones((self.pixels, 1), np.float32))[:, 0] * scale
        roots = np.sqrt(scale / (answer + np.float32(1e-20)))
        self._slice.data *= np.repeat(roots, np.diff(self._slice.indptr))


class Smoothing:
    """A Gaussian filter over the pixels of an image, symmetrically normalised."""

    def __init__(self, height: int, width: int, sigma: float, valid: Mask | None = None) -> None:
        """A filter of `sigma` pixels, cut off at three times that.

        Pixels that are not `valid` (height · width,) take no part; None: all are.
        """
        self.pixels, self._size = height * width, (height, width)
        radius = int(np.ceil(3 * sigma))
        steps = np.arange(-radius, radius + 1, dtype=np.float32) / np.float32(sigma)
        self._taps = np.exp(-(steps**2) / 2)
        counted = np.ones(self.pixels, np.bool_) if valid is None else valid
        self._roots = counted[:, None].astype(np.float32)
        answer = self.filter(self._roots)
        self._roots[counted] = 1 / np.sqrt(answer[counted])

    def filter(self, values: Floats) -> Floats:
        """(N, K) values of the pixels, each with what it gets from all of them."""
        grid = (self._roots * values).reshape(*self._size, -1)
        for axis in (0, 1):
            grid = ndimage.correlate1d(grid, self._taps, axis, mode="constant")
        return np.asarray(self._roots * grid.reshape(values.shape))


def mean_field(
    log_probabilities: Floats,
    alike: tuple[Lattice, float],
    near: tuple[Smoothing, float],
    iterations: int,
) -> Floats:
    """Marginals of a CRF with Potts compatibility and two weighted kernels.

    Args:
        log_probabilities: (K, N) minus the unary energies, up to a constant of each pixel.
        alike: filter over the same N pixels, with its weight.
        near: likewise.
        iterations: of mean-field inference.

    Returns:
        (K, N) float32; over K they sum to 1. Pixels without data get no message.

    Raises:
        ValueError: the shapes do not fit.
    """
    if log_probabilities.ndim != 2:
        raise ValueError("expected log probabilities (classes, pixels)")
    kernels = (alike, near)
    if any(kernel.pixels != log_probabilities.shape[1] for kernel, _ in kernels):
        raise ValueError("filters and log probabilities differ in pixels")
    unary = np.ascontiguousarray(log_probabilities.T, np.float32)
    marginals = special.softmax(unary, axis=1)
    for _ in range(iterations):
        messages = [np.float32(weight) * kernel.filter(marginals) for kernel, weight in kernels]
        marginals = special.softmax(sum(messages, unary), axis=1)
    return np.ascontiguousarray(marginals.T)


def decisions(marginals: Floats) -> NDArray[np.uint8]:
    """The class of each pixel, and how sure it is.

    Args:
        marginals: (K, N) float32 of at most 256 classes, over K of sum 1.

    Returns:
        (2, N) uint8: the most likely class, of equal ones the first; and 255 times its probability
        less the second best's, rounded to even. Of one class only, that is 255.
    """
    best = marginals[0].copy()
    second = np.zeros_like(best)
    for probability in marginals[1:]:
        np.maximum(second, np.minimum(best, probability), out=second)
        np.maximum(best, probability, out=best)
    margins = np.rint(np.float32(255) * (best - second).clip(0, 1))
    return np.stack([marginals.argmax(axis=0), margins]).astype(np.uint8)


def simplices(features: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The simplex of the lattice around each pixel (Adams, Baek & Davis 2010, section 3).

    Args:
        features: (N, d) float32.

    Returns:
        (N, d + 1, d) the first coordinates of its vertices, and (N, d + 1) float32 the pixel's
        barycentric weights at them.
    """
    elevated = _elevated(features)
    count, d = features.shape
    cells = elevated / np.float32(d + 1)
    rounded = np.trunc(cells + np.copysign(np.float32(0.5), cells)).astype(np.int64)
    nearest, rank = rounded * (d + 1), _ranks(elevated - (rounded * (d + 1)).astype(np.float32))
    rank += rounded.sum(axis=1, keepdims=True)  # off the plane in which the lattice lies
    turn = np.where(rank < 0, d + 1, np.where(rank > d, -(d + 1), 0))
    rank, nearest = rank + turn, nearest + turn
    parts = (elevated - nearest.astype(np.float32)) / np.float32(d + 1)
    weights, pixels = np.zeros((count, d + 2), np.float32), np.arange(count)
    for i in range(d + 1):
        weights[pixels, d - rank[:, i]] += parts[:, i]
        weights[pixels, d - rank[:, i] + 1] -= parts[:, i]
    weights[:, 0] += 1 + weights[:, d + 1]
    corners = np.arange(d + 1)[None, :, None]
    steps = np.where(rank[:, None, :d] <= d - corners, corners, corners - (d + 1))
    return nearest[:, None, :d] + steps, weights[:, : d + 1]


def _elevated(features: Floats) -> Floats:
    """(N, d + 1) features in the plane of the lattice, in which coordinates sum to 0; with
    √⅔ (d + 1) the blur has the variance of a Gaussian of σ = 1.
    """
    count, d = features.shape
    elevated, total = np.empty((count, d + 1), np.float32), np.zeros(count, np.float32)
    for i in range(d, 0, -1):
        scale = np.float32(np.sqrt(2 / 3 / (i * (i + 1))) * (d + 1))
        scaled = scale * features[:, i - 1]
        elevated[:, i] = total - np.float32(i) * scaled
        total += scaled
    elevated[:, 0] = total
    return elevated


def _ranks(rest: Floats) -> NDArray[np.int64]:
    """How many coordinates of a row are larger than each, of equal ones those behind it too."""
    return np.argsort(np.argsort(-rest, axis=1, kind="stable"), axis=1, kind="stable")


def _bits(d: int) -> int:
    return min(64 // d, 31)


def _keys(points: NDArray[np.int64]) -> Keys:
    """One number for each point (…, d)."""
    d = points.shape[-1]
    half = 1 << (_bits(d) - 1)
    if points.size and not (d - half <= points.min() and points.max() < half - d):
        raise ValueError("features reach further than the lattice; enlarge sigma")
    fields: Keys = (points + half).astype(np.uint64) * _units(d)
    return np.asarray(fields.sum(axis=-1), np.uint64)


def _units(d: int) -> Keys:
    """One in each coordinate."""
    units: Keys = np.uint64(1) << np.arange(d, dtype=np.uint64) * np.uint64(_bits(d))
    return units


def _neighbours(keys: Keys, d: int, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the points before and after each of the sorted points on an axis, where d is
    added there and 1 taken off all others; len(keys) where there is none.
    """
    step, units = np.zeros(1, np.uint64), _units(d)
    step -= units.sum(dtype=np.uint64)
    if axis < d:
        step += np.uint64(d + 1) * units[axis]
    return _number(keys, keys - step), _number(keys, keys + step)


def _number(keys: Keys, wanted: Keys) -> NDArray[np.intp]:
    places = np.searchsorted(keys, wanted)
    found = keys[np.minimum(places, len(keys) - 1)] == wanted
    return np.where(found, places, len(keys))
