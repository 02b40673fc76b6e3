"""The choice among near-equal minima of k-means: the one whose clusters separate the features best.

k-means ends in several minima whose inertias differ by less than a percent, and whose masks differ
by tens of points of mIoU: inertia cannot choose among them. Nor can it compare spaces, such as
codes and codes beside features. The silhouette of the features under the clusters does both
(docs/notes/quality.md).

It favours clusters of the features themselves. These are kept by a margin alone, and only where
they are clusters of things: then what the head learned is of no use to this corpus.
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
MARGIN = 1.04
"""Clusters of the features are kept only where their silhouette is so many times the best other
one."""
SMALLEST = 0.1
"""The smallest of them has at least this share of a mean cluster: k-means on features, which lie
near each other, spends clusters on a few odd ones, and the silhouette rewards that."""
IMAGE_BOUND, CHANCE = 1.5, 0.01
"""They are bound to images (`image_bound`) at most so many times as much as the best other ones,
and so much more by chance: features also tell the light or stain of a whole image."""


class Minimum(NamedTuple):
    """Where one restart of k-means ended.

    Attributes:
        space: the vectors that were clustered; inertias are comparable within a space alone.
        inertia: mean of 1 − cos(vector, its centroid), in [0, 2].
        silhouette: of the features under these clusters.
        smallest: tokens of the smallest cluster over those of a mean one, in [0, 1].
        image_bound: see `image_bound`.
    """

    space: str
    inertia: float
    silhouette: float
    smallest: float = 1.0
    image_bound: float = 0.0

    @classmethod
    def of(
        cls,
        space: str,
        inertia: float,
        clusters: NDArray[np.integer],
        count: int,
        features: NDArray[np.float32],
        images: NDArray[np.integer],
    ) -> "Minimum":
        """Judged by tokens: their `clusters` (N,), features (N, C) of norm 1, and images (N,)."""
        smallest = float(np.bincount(clusters, minlength=count).min() * count / len(clusters))
        separated = silhouette(features, clusters, count)
        return cls(space, inertia, separated, smallest, image_bound(clusters, images, count))


def image_bound(clusters: NDArray[np.integer], images: NDArray[np.integer], count: int) -> float:
    """How much more often two tokens of one image share a cluster than any two do.

    (w − a) / (1 − a), with w the probability that two tokens of an image share one, averaged over
    the images that have two or more, and a the same of any two tokens.

    Args:
        clusters: (N,) cluster of each token, in [0, count).
        images: (N,) image of each.
        count: K.

    Returns:
        1 where each image has a cluster of its own, about 0 where all images have the same shares;
        0 where all tokens share one cluster, or no image has two.
    """
    numbers = np.unique(images, return_inverse=True)[1]
    found = np.bincount(numbers * count + clusters, minlength=(numbers.max() + 1) * count)
    table = found.reshape(-1, count).astype(np.float64)
    sizes = table.sum(axis=1)
    shared = np.sum(table * (table - 1), axis=1)[sizes > 1] / (sizes * (sizes - 1))[sizes > 1]
    any_two = float(np.sum((table.sum(axis=0) / sizes.sum()) ** 2))
    if not len(shared) or any_two == 1:
        return 0.0
    return float((shared.mean() - any_two) / (1 - any_two))


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

    Of the features' own the lowest alone counts, as `of_no_use` says: then the outcome is that of
    k-means on the features. Among silhouettes that are equal to `DIGITS` the first wins: restarts
    that end in the same minimum differ by rounding, which depends on the processor.
    """
    lowest = {space: min(m.inertia for m in minima if m.space == space) for space, *_ in minima}
    separated = [round(m.silhouette, DIGITS) for m in minima]
    learned = [m.space != FEATURES and m.inertia <= (1 + NEAR) * lowest[m.space] for m in minima]
    best = int(np.argmax(np.where(learned, separated, -np.inf)))
    if FEATURES in lowest:
        inertias = [m.inertia if m.space == FEATURES else np.inf for m in minima]
        plain = int(np.argmin(inertias))
        if of_no_use(minima[best], minima[plain]):
            return plain
    return best


def of_no_use(learned: Minimum, plain: Minimum) -> bool:
    """Whether clusters of the features are better than the best that the head made possible."""
    return (
        plain.silhouette >= MARGIN * learned.silhouette
        and plain.smallest >= SMALLEST
        and plain.image_bound <= IMAGE_BOUND * learned.image_bound + CHANCE
    )
