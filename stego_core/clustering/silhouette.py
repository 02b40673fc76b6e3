"""The choice among near-equal minima of k-means: the one whose clusters separate the features best.

k-means ends in several minima whose inertias differ by less than a percent, and whose masks differ
by tens of points of mIoU: inertia cannot choose among them. Nor can it compare spaces, such as
codes and codes beside features. The silhouette of the features under the clusters does both
(docs/notes/quality.md).

It favours clusters of the features themselves, and so do not these: they are kept where they are
better by a margin alone. Then what the head learned is of no use to this corpus.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit

NEAR = 0.01
"""Minima whose inertia exceeds the lowest of their space by at most this share are near-equal."""
DIGITS = 4
"""Decimals of the silhouettes that are compared."""
FEATURES = "features"
"""The space of the features as the backbone gives them."""
MARGIN = 1.08
"""Clusters of the features are kept where their silhouette is so many times the best other one."""
SMALLEST = 0.1
"""… and the smallest of them has this share of a mean cluster: k-means on features, which lie near
each other, spends clusters on a few odd ones, which the silhouette rewards."""


class Minimum(NamedTuple):
    """Where one restart of k-means ended.

    Attributes:
        space: the vectors that were clustered; inertias are comparable within a space alone.
        inertia: mean of 1 − cos(vector, its centroid), in [0, 2].
        silhouette: of the features under these clusters.
        smallest: tokens of the smallest cluster over those of a mean one, in [0, 1].
    """

    space: str
    inertia: float
    silhouette: float
    smallest: float = 1.0

    @classmethod
    def of(
        cls,
        space: str,
        inertia: float,
        features: NDArray[np.float32],
        clusters: NDArray[np.integer],
        count: int,
    ) -> "Minimum":
        """With the silhouette of features (N, C) of norm 1 in `count` clusters (N,)."""
        smallest = float(np.bincount(clusters, minlength=count).min() * count / len(clusters))
        return cls(space, inertia, silhouette(features, clusters, count), smallest)


def silhouette(features: NDArray[np.float32], clusters: NDArray[np.integer], count: int) -> float:
    """Mean of (b − a) / max(a, b): how much nearer features are to their cluster than to others.

    With c_k the unit mean of the features of cluster k, a = 1 − cos(x, c_own) and b is the least
    1 − cos(x, c_k) of the other clusters: Rousseeuw's silhouette (1987) with distances to means,
    which takes N·K instead of N² products.

    Args:
        features: (N, C) of norm 1.
        clusters: (N,) cluster of each, in [0, count).
        count: K.

    Returns:
        in [−1, 1]; 0 where all features are in one cluster.
    """
    members = np.bincount(clusters, minlength=count)
    if (members > 0).sum() < 2:
        return 0.0
    means = np.stack([features[clusters == number].sum(axis=0) for number in range(count)])
    distances = np.maximum(1 - features @ unit(means).T, 0)  # rounding makes some negative
    distances[:, members == 0] = np.inf
    rows = np.arange(len(features))
    own = distances[rows, clusters]
    distances[rows, clusters] = np.inf
    nearest = distances.min(axis=1)
    scale = np.maximum(np.maximum(own, nearest), np.finfo(np.float32).tiny)
    return float(np.mean((nearest - own) / scale, dtype=np.float64))


def chosen(minima: Sequence[Minimum]) -> int:
    """Index of the minimum to keep: of those near the lowest of their space, the best separated.

    Of the features' own the lowest alone counts, by `MARGIN` and `SMALLEST`: where the head is of
    no use, the outcome is that of k-means on the features. Among silhouettes that are equal to
    `DIGITS` the first wins: restarts that end in the same minimum differ by rounding, which depends
    on the processor.
    """
    lowest = {space: min(m.inertia for m in minima if m.space == space) for space, *_ in minima}
    separated = np.array([round(m.silhouette, DIGITS) for m in minima])
    plain = np.array([m.space == FEATURES for m in minima])
    near = np.array([m.inertia <= (1 + NEAR) * lowest[m.space] for m in minima])
    best = int(np.argmax(np.where(near & ~plain, separated, -np.inf)))
    if plain.any():
        own = int(np.argmin(np.where(plain, [m.inertia for m in minima], np.inf)))
        if separated[own] >= MARGIN * separated[best] and minima[own].smallest >= SMALLEST:
            return own
    return best
