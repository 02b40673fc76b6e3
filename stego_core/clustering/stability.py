"""Stability of k-means over the number of clusters: how many clusters the codes hold."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stego_core.clustering import kmeans

Floats = NDArray[np.float64]

LEAST = 2
"""The smallest K whose stability is measured."""
SAMPLE = 10_000
"""Vectors of each of the three samples of a measurement, at most."""
RESTARTS = 3
"""Starts of k-means in a clustering."""
REPEATS = 2
"""Clusterings of each half."""
STABLE = 0.75
"""Jaccard index above which a cluster counts as the same one (Hennig 2007)."""


def overlaps(first: NDArray[np.integer], second: NDArray[np.integer], clusters: int) -> Floats:
    """Jaccard index of every cluster with its counterpart in another clustering.

    Counterparts are matched one to one, so that the sum of the indices is greatest.

    Args:
        first, second: (n,) cluster ids of the same things, in [0, clusters).
        clusters: K.

    Returns:
        (K,) float64 in [0, 1], by id in `first`.
    """
    shared = np.zeros((clusters, clusters))
    np.add.at(shared, (first, second), 1)
    either = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
    jaccard = shared / np.maximum(either, 1)
    return np.asarray(jaccard[linear_sum_assignment(jaccard, maximize=True)])


def stability(vectors: NDArray[np.float32], clusters: int, generator: np.random.Generator) -> float:
    """How well the least stable of K clusters reappears in other data of the same distribution.

    Two samples are clustered, and both clusterings are applied to a third one (Lange et al.,
    Stability-Based Validation of Clustering Solutions, 2004). There each cluster is compared with
    its counterpart (Hennig, Cluster-wise Assessment of Cluster Stability, 2007). If K is too
    large, a cluster splits differently every time; agreement over all clusters would hide that.

    Args:
        vectors: (N, D) float32 of norm 1.
        clusters: K.
        generator: of the samples and the starts.

    Returns:
        the lowest Jaccard index of a cluster, mean over `REPEATS`² pairs of clusterings, in [0, 1].

    Raises:
        CapacityError: a third of the vectors is fewer than K.
    """
    size = min(len(vectors) // 3, SAMPLE)
    *halves, third = generator.choice(len(vectors), 3 * size, replace=False).reshape(3, size)
    first, second = (
        [_ids(vectors[third], vectors[half], clusters, generator) for _ in range(REPEATS)]
        for half in halves
    )
    return float(np.mean([overlaps(a, b, clusters).min() for a in first for b in second]))


def _ids(
    vectors: NDArray[np.float32],
    half: NDArray[np.float32],
    clusters: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Cluster ids (n,) of vectors, by the best clustering of `half`."""
    runs = [kmeans.fit(half, clusters, generator) for _ in range(RESTARTS)]
    return np.asarray((vectors @ runs[kmeans.best(runs)].centroids.T).argmax(axis=1))


def stable_count(curve: Mapping[int, float]) -> int:
    """The largest K of a curve (stability by K) with stable clusters alone; else the most stable K.

    A few clusters are always stable, because each joins many similar codes: the largest number of
    clusters that do not depend on chance is far below the number of classes where those are many.
    """
    stable = [clusters for clusters, value in curve.items() if value >= STABLE]
    return max(stable) if stable else max(curve, key=lambda clusters: (curve[clusters], -clusters))
