"""Cosine k-means: k-means++ start, Lloyd iterations on unit vectors, lowest inertia wins.

A restart sees a sample of its own, first a part of it, and all restarts are judged on another one;
the best goes on with all vectors. Each step begins near its end, so a few iterations do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.errors import CapacityError

BLOCK = 16_384
"""Vectors compared with the centroids at once; bounds memory, not the outcome's meaning."""
SAMPLE, SAMPLE_PER_CLUSTER = 16_384, 256
"""Vectors that a restart sees, the larger of both."""
PART = 4
"""A restart begins with every fourth of them, where there are so many."""
JUDGED = 32_768
"""Vectors by which restarts are compared."""
RESTARTED, SETTLED = 2e-5, 5e-5
"""A run ends where an iteration lowers the inertia by no more: a restart, and the best of them."""


class Clustering(NamedTuple):
    """One run of k-means.

    Attributes:
        centroids: (K, D) float32 of norm 1.
        inertia: mean of 1 − cos(x, its centroid), in [0, 2].
        iterations: Lloyd iterations until the inertia stood still, or the limit.
    """

    centroids: NDArray[np.float32]
    inertia: float
    iterations: int


@dataclass
class ClusterSums:
    """What a block of vectors contributes to an iteration; merging is associative.

    Attributes:
        sums: (K, D) float64, sum of the vectors of each cluster.
        counts: (K,) int64, vectors of each cluster.
        distance: sum of 1 − cos over all vectors.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    distance: float

    @classmethod
    def create(cls, clusters: int, depth: int) -> "ClusterSums":
        """Sums over no vectors."""
        return cls(np.zeros((clusters, depth)), np.zeros(clusters, np.int64), 0.0)

    def add(self, vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> "ClusterSums":
        """Assign unit vectors (n, D) to their nearest centroid and include them."""
        block = torch.from_numpy(vectors)
        similarity, nearest = (block @ torch.from_numpy(centroids).T).max(dim=1)
        sums = torch.zeros(centroids.shape).index_add_(0, nearest, block)
        self.sums += sums.numpy()
        self.counts += np.bincount(nearest.numpy(), minlength=len(centroids))
        self.distance += float((1 - similarity).sum(dtype=torch.float64))
        return self

    def merge(self, other: "ClusterSums") -> "ClusterSums":
        """Sums over both sets of vectors."""
        return ClusterSums(
            self.sums + other.sums, self.counts + other.counts, self.distance + other.distance
        )

    @property
    def inertia(self) -> float:
        """Mean of 1 − cos over all vectors seen."""
        return self.distance / max(int(self.counts.sum()), 1)

    def result(self) -> NDArray[np.float32]:
        """The (K, D) new unit centroids; a cluster without vectors gives a row of zeros."""
        return unit(self.sums).astype(np.float32)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows scaled to norm 1; rows of zeros stay zero."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norm, np.finfo(np.float32).tiny))


def blocks(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The vectors in blocks of `BLOCK`."""
    for first in range(0, len(vectors), BLOCK):
        yield vectors[first : first + BLOCK]


def seeds(
    vectors: NDArray[np.float32], clusters: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """k-means++ start: each next centroid drawn with probability ∝ 1 − cos to the nearest.

    For unit vectors 1 − cos is half the squared distance, so this is Arthur & Vassilvitskii
    (2007) on the sphere.
    """
    chosen = [int(generator.integers(len(vectors)))]
    distance = np.full(len(vectors), np.inf)
    tensor = torch.from_numpy(vectors)
    while len(chosen) < clusters:
        nearest = 1 - (tensor @ tensor[chosen[-1]]).numpy()
        distance = np.minimum(distance, np.maximum(nearest, 0))
        total = distance.sum()
        weights = distance / total if total > 0 else None
        chosen.append(int(generator.choice(len(vectors), p=weights)))
    return vectors[chosen]


def iterate(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> ClusterSums:
    """The sums of one Lloyd iteration over all vectors."""
    sums = ClusterSums.create(*centroids.shape)
    for block in blocks(vectors):
        sums = sums.add(block, centroids)
    return sums


def farthest(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """The `count` vectors that resemble their nearest centroid least."""
    best = np.concatenate([(block @ centroids.T).max(axis=1) for block in blocks(vectors)])
    return vectors[np.argsort(best, kind="stable")[:count]]


def fit(
    vectors: NDArray[np.float32],
    clusters: int,
    generator: np.random.Generator,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Clustering:
    """One run of cosine k-means from one k-means++ start.

    Args:
        vectors: (N, D) float32 of norm 1.
        clusters: K.
        generator: draws the start.
        iterations, tolerance: as in `lloyd`.

    Raises:
        CapacityError: fewer vectors than clusters.
    """
    if len(vectors) < clusters:
        raise CapacityError(
            f"{len(vectors)} vectors cannot make {clusters} clusters; give more images or a "
            f"smaller --classes"
        )
    return lloyd(vectors, seeds(vectors, clusters, generator), iterations, tolerance)


def lloyd(
    vectors: NDArray[np.float32],
    centroids: NDArray[np.float32],
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Clustering:
    """Lloyd iterations from given centroids.

    Args:
        vectors: (N, D) float32 of norm 1.
        centroids: (K, D) float32 of norm 1.
        iterations: limit.
        tolerance: stop when the inertia falls by no more than this.
    """
    before, done = np.inf, 0
    while done < iterations:
        done += 1
        sums = iterate(vectors, centroids)
        updated = sums.result()
        empty = sums.counts == 0
        if empty.any():
            updated[empty] = farthest(vectors, centroids, int(empty.sum()))
        centroids = updated
        if before - sums.inertia <= tolerance and not empty.any():
            break
        before = sums.inertia
    return Clustering(centroids, iterate(vectors, centroids).inertia, done)


def restart(vectors: NDArray[np.float32], clusters: int, seed: int, number: int) -> Clustering:
    """Restart `number` (from 0) on a sample of the vectors (N, D); its inertia on another one.

    Raises:
        CapacityError: fewer vectors than clusters.
    """
    generator = np.random.default_rng([seed, number])
    sample = drawn(vectors, max(SAMPLE, SAMPLE_PER_CLUSTER * clusters), generator)
    part = sample[::PART] if len(sample) >= SAMPLE_PER_CLUSTER * clusters else sample
    begun = fit(part, clusters, generator, tolerance=RESTARTED)
    run = lloyd(sample, begun.centroids, tolerance=RESTARTED)
    judged = drawn(vectors, JUDGED, np.random.default_rng(seed))
    return run._replace(inertia=iterate(judged, run.centroids).inertia)


def settled(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> Clustering:
    """The last iterations of a restart's centroids (K, D), on all vectors (N, D)."""
    return lloyd(vectors, centroids, tolerance=SETTLED)


def drawn(
    vectors: NDArray[np.float32], count: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """So many of the vectors, drawn without replacement; all of them if they are no more."""
    if len(vectors) <= count:
        return vectors
    return vectors[np.sort(generator.choice(len(vectors), count, replace=False))]


def best(clusterings: list[Clustering]) -> int:
    """Index of the run with the lowest inertia; the first of equals."""
    return int(np.argmin([run.inertia for run in clusterings]))
