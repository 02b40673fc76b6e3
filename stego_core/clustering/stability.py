"""How many clusters do the codes hold: stability of k-means over the number of clusters."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stego_core.clustering import kmeans

Floats = NDArray[np.float64]

LEAST = 2
"""The smallest K that can be judged."""
SAMPLE = 10_000
"""Vectors of each of the three samples that a judgement draws, at most."""
RESTARTS = 3
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
    """How well the least stable of K clusters is found again in other data of the same kind.

    Two halves are clustered on their own, and both clusterings sort a third part (Lange et al.,
    Stability-Based Validation of Clustering Solutions, 2004). There each cluster is compared with
    its counterpart (Hennig, Cluster-wise Assessment of Cluster Stability, 2007). One cluster too
    many is split at another place every time, which agreement over all clusters would hide.

    Args:
        vectors: (N, D) float32 of norm 1.
        clusters: K.
        generator: draws the samples and the starts.

    Returns:
        the lowest Jaccard index of a cluster, mean over `REPEATS`² pairs of clusterings, in [0, 1].

    Raises:
        CapacityError: a third of the vectors is fewer than K.
    """
    size = min(len(vectors) // 3, SAMPLE)
    drawn = generator.choice(len(vectors), 3 * size, replace=False).reshape(3, size)
    judged = vectors[drawn[2]]
    first, second = (
        [_sorted(judged, vectors[half], clusters, generator) for _ in range(REPEATS)]
        for half in drawn[:2]
    )
    return float(np.mean([overlaps(a, b, clusters).min() for a in first for b in second]))


def _sorted(
    vectors: NDArray[np.float32],
    half: NDArray[np.float32],
    clusters: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Cluster ids (n,) of vectors, by the best clustering of `half`."""
    runs = [kmeans.fit(half, clusters, generator) for _ in range(RESTARTS)]
    return np.asarray((vectors @ runs[kmeans.best(runs)].centroids.T).argmax(axis=1))


def proposed(curve: Mapping[int, float]) -> int:
    """The largest K whose clusters are all stable; where there is none, the most stable one.

    A few clusters are found again easily, because they join what lies close together; what
    matters is how many can be told apart before chance decides where the next one goes.

    Args:
        curve: stability by K.
    """
    stable = [clusters for clusters, value in curve.items() if value >= STABLE]
    return max(stable) if stable else max(curve, key=lambda clusters: (curve[clusters], -clusters))
