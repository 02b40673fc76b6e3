"""How far a dump's images lie from the training images: features and class shares, no labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from stego_core.errors import CapacityError

Vector = NDArray[np.float64]

AXES_SHARE = 0.95
"""Share of the training variance that the axes of `feature_drift` hold. With 0.99, axes count
whose variance a small corpus hardly knows; with 0.8, blurred images pass for the training ones."""
FEATURES_THRESHOLD = 0.65
"""A feature drift above this is drift. Measured with 20 images and more, and 60 training images: at
most 0.24 for the other half of a corpus and 0.64 for a sequence that some training images show;
from 0.70 for dusk after day, from 0.72 for a corpus after one of another kind (a corpus of many
kinds of images excepted). `docs/notes/drift.md` has the table."""
SHARES_THRESHOLD = 0.1
"""A shares drift above this many bits is drift. Measured with 20 images and more: at most 0.052
for images of the training distribution and for a street that they show; from 0.148 between
street scenes and photographs of everything."""
FEWEST_IMAGES = 20
"""Dumps of fewer images are measured, not judged. Ten photographs of the training distribution
reach 0.101 bits by chance, twenty 0.052."""


@dataclass
class Moments:
    """Count, mean and scatter of vectors; + is associative up to rounding.

    Attributes:
        mean: (C,) float64; zeros before the first vector.
        scatter: (C, C) float64, the sum of outer products of deviations from the mean.
    """

    count: int
    mean: Vector
    scatter: Vector

    @classmethod
    def create(cls, channels: int) -> "Moments":
        """Moments of no vectors."""
        return cls(0, np.zeros(channels), np.zeros((channels, channels)))

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> "Moments":
        """Moments of a block of vectors (n, C); summed in float64.

        Raises:
            ValueError: a value that is not finite.
        """
        block = vectors.astype(np.float64)
        if not np.isfinite(block).all():
            bad = int((~np.isfinite(block)).any(axis=1).sum())
            raise ValueError(f"{bad} of {len(block)} vectors are not finite")
        if not len(block):
            return cls.create(block.shape[1])
        mean = block.mean(axis=0)
        deviations = block - mean
        return cls(len(block), mean, deviations.T @ deviations)

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets of vectors (Chan, Golub and LeVeque 1979).

        Raises:
            ValueError: the two have other numbers of channels.
        """
        if len(self.mean) != len(other.mean):
            raise ValueError(f"moments of {len(self.mean)} and of {len(other.mean)} channels")
        count = self.count + other.count
        if not (self.count and other.count):
            return self if self.count else other
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    def result(self) -> tuple[Vector, Vector]:
        """Mean (C,) and unbiased covariance (C, C); zeros where one vector shows no spread."""
        return self.mean, self.scatter / max(self.count - 1, 1)


def feature_drift(training: Moments, dump: Moments) -> float:
    """Fréchet distance per axis, in units of the training spread, unbiased for small dumps.

    Along each of the k leading principal axes of the training images, which hold `AXES_SHARE` of
    their variance, both sets are taken as normal with means m, M and deviations s, S:

        drift = mean over axes of [(m − M)² + (s − S)²] / S²  −  bias

    which is the squared Fréchet distance of normals with independent axes (Dowson and Landau
    1982; Heusel et al. 2017 use full covariances), scaled by S² per axis, so that no unit of the
    features is left. What n dump and N training vectors of one distribution give by chance,
    1/n + 1/N from the means and 1/(2(n−1)) + 1/(2(N−1)) from the deviations, is subtracted. The
    full covariance of n < C vectors would be biased by far more.

    0: the same distribution. 1: the centres lie one training deviation apart on each axis, or
    the dump's images are all equal and in the middle of the training images. A dump that is
    narrower than the training images and lies among them stays near or below 1; other images
    have no upper bound. A shift along directions in which the training images hardly vary is
    not seen.

    Each image has one vector in the moments; of a dump of one image only the shift is measured.

    Raises:
        CapacityError: no dump vector, fewer than 2 training vectors, or training vectors that
            are all equal.
        ValueError: the two have other numbers of channels.
    """
    if len(training.mean) != len(dump.mean):
        raise ValueError(f"{len(dump.mean)} channels of the dump, {len(training.mean)} in training")
    n, many = dump.count, training.count
    if n < 1 or many < 2 or _constant(training):
        raise CapacityError(
            f"drift of {n} vectors against {many} cannot be measured; expected at least 1, and 2 "
            "training vectors that differ"
        )
    (center, covariance), (own_center, own_covariance) = training.result(), dump.result()
    variances, axes = _leading(covariance, many - 1)
    shift = (axes.T @ (own_center - center)) ** 2 / variances
    drift = float(shift.mean()) - (1 / n + 1 / many)
    if n == 1:
        return drift
    own_variances = np.maximum(((own_covariance @ axes) * axes).sum(axis=0), 0)
    spread = (np.sqrt(own_variances / variances) - 1) ** 2
    return drift + float(spread.mean()) - (0.5 / (n - 1) + 0.5 / (many - 1))


def _constant(moments: Moments) -> bool:
    """Whether the vectors differ by no more than float32 rounds."""
    rounding = float(np.finfo(np.float32).eps) ** 2
    power = moments.count * float(moments.mean @ moments.mean)
    return bool(np.trace(moments.scatter) <= rounding * power)


def _leading(covariance: Vector, rank: int) -> tuple[Vector, Vector]:
    """Variances (k,) and axes (C, k) of the fewest principal axes that hold `AXES_SHARE`."""
    rising, axes = np.linalg.eigh(covariance)
    variances, axes = np.maximum(rising[::-1], 0), axes[:, ::-1]
    shares = np.cumsum(variances) / variances.sum()
    k = min(int(np.searchsorted(shares, AXES_SHARE)) + 1, rank, len(variances))
    return variances[:k], axes[:, :k]


def shares_drift(training: NDArray[np.int64], dump: NDArray[np.int64]) -> float:
    """Jensen-Shannon divergence of pixels (K,) over classes (Lin 1991), 0 to 1 bit.

        JS(p, q) = H((p + q) / 2) − (H(p) + H(q)) / 2

    0 is the same shares, 1 no class in common. Pixels of an image are alike, so the chance part
    goes with the number of images, not of pixels; it is not subtracted.

    Raises:
        CapacityError: one of them has no pixels.
        ValueError: other numbers of classes, or negative counts.
    """
    if training.shape != dump.shape or training.ndim != 1:
        raise ValueError(f"pixels of classes are {training.shape} and {dump.shape}")
    if min(training.min(initial=0), dump.min(initial=0)) < 0:
        raise ValueError("pixels of classes are negative")
    if not (training.any() and dump.any()):
        raise CapacityError("drift of class shares takes masks of both; one of them has no pixels")
    p, q = training / training.sum(), dump / dump.sum()
    nats = (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum() / 2
    return float(np.clip(nats / np.log(2), 0, 1))


def verdict(features: float | None, shares: float | None, images: int) -> dict[str, Any]:
    """For a manifest: numbers to four places, thresholds, and whether the dump has drifted.

    Args:
        features: `feature_drift`; None where it could not be measured.
        shares: `shares_drift` in bits; None where it could not be measured.
        images: the fewest images of the dump that a number was measured on.
    """
    measured = features is not None or shares is not None
    judged = measured and images >= FEWEST_IMAGES
    above = (features or 0) > FEATURES_THRESHOLD or (shares or 0) > SHARES_THRESHOLD
    return {
        "features": None if features is None else round(features, 4),
        "shares": None if shares is None else round(shares, 4),
        "images": images,
        "thresholds": thresholds(),
        "judged": judged,
        "drifted": judged and above,
    }


def thresholds() -> dict[str, float]:
    """What a verdict depends on besides the numbers, for manifests and keys."""
    return {
        "features": FEATURES_THRESHOLD,
        "shares": SHARES_THRESHOLD,
        "fewest_images": FEWEST_IMAGES,
    }
