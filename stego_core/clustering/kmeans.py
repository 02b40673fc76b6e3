"""Cosine k-means: k-means++ start, Lloyd iterations on unit vectors, lowest inertia wins.

Each restart runs on a sample of its own, first on a part of it; another sample compares the
restarts, and the best one continues on all vectors. Each step begins close to its end, so a few
iterations are enough.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.errors import CapacityError

Vectors = NDArray[np.float32]

BLOCK = 16_384
"""Vectors compared with the centroids at once; bounds memory, not the outcome's meaning."""
SAMPLE = 16_384
"""Vectors in the sample of a restart, or more if there are many clusters."""
SAMPLE_PER_CLUSTER = 256
"""Vectors per cluster in the sample of a restart at least."""
PART = 4
"""A restart begins with every fourth vector of its sample, if that is large enough."""
JUDGED = 32_768
"""Vectors in the sample that compares the restarts."""
RESTART_TOLERANCE = 2e-5
"""A restart ends where an iteration lowers the inertia by no more."""
FINAL_TOLERANCE = 5e-5
"""The best restart's iterations on all vectors end where one lowers the inertia by no more."""


class Clustering(NamedTuple):
    """One run of k-means.

    Attributes:
        centroids: (K, D) float32 of norm 1.
        inertia: mean of 1 − cos(x, its centroid), in [0, 2].
        iterations: Lloyd iterations until the inertia converged, or the limit.
    """

    centroids: Vectors
    inertia: float
    iterations: int


class Assignment(NamedTuple):
    """Sums over vectors that are assigned to their nearest centroids.

    Attributes:
        means: (K, D) float32 directions of the clusters' means; zeros of a cluster without vectors.
        counts: (K,) int64 vectors of each cluster.
        inertia: mean of 1 − cos over all vectors, 0 without any.
    """

    means: Vectors
    counts: NDArray[np.int64]
    inertia: float


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows scaled to norm 1; rows of zeros stay zero."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norm, np.finfo(np.float32).tiny))


def blocks(vectors: Vectors) -> Iterator[Vectors]:
    """The vectors in blocks of `BLOCK`."""
    for first in range(0, len(vectors), BLOCK):
        yield vectors[first : first + BLOCK]


def assign(vectors: Vectors, centroids: Vectors) -> Assignment:
    """Assign unit vectors (N, D) to their nearest unit centroids (K, D)."""
    sums, counts = np.zeros(centroids.shape), np.zeros(len(centroids), np.int64)
    distance = 0.0
    for block in map(torch.from_numpy, blocks(vectors)):
        similarity, nearest = (block @ torch.from_numpy(centroids).T).max(dim=1)
        sums += torch.zeros(centroids.shape).index_add_(0, nearest, block).numpy()
        counts += np.bincount(nearest.numpy(), minlength=len(centroids))
        distance += float((1 - similarity).sum(dtype=torch.float64))
    return Assignment(unit(sums).astype(np.float32), counts, distance / max(len(vectors), 1))


def seeds(vectors: Vectors, clusters: int, generator: np.random.Generator) -> Vectors:
    """k-means++ start: each next centroid is sampled with probability ∝ 1 − cos to the nearest.

    For unit vectors 1 − cos is half the squared distance, so this is Arthur & Vassilvitskii
    (2007) on the sphere.
    """
    rows = [int(generator.integers(len(vectors)))]
    distance = np.full(len(vectors), np.inf)
    tensor = torch.from_numpy(vectors)
    while len(rows) < clusters:
        to_last = 1 - (tensor @ tensor[rows[-1]]).numpy()
        distance = np.minimum(distance, np.maximum(to_last, 0))
        total = distance.sum()
        weights = distance / total if total > 0 else None
        rows.append(int(generator.choice(len(vectors), p=weights)))
    return vectors[rows]


def farthest(vectors: Vectors, centroids: Vectors, count: int) -> Vectors:
    """The `count` vectors that resemble their nearest centroid least."""
    best = np.concatenate([(block @ centroids.T).max(axis=1) for block in blocks(vectors)])
    return vectors[np.argsort(best, kind="stable")[:count]]


def lloyd(
    vectors: Vectors, centroids: Vectors, iterations: int = 100, tolerance: float = 1e-6
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
        means, counts, inertia = assign(vectors, centroids)
        empty = counts == 0
        if empty.any():
            means[empty] = farthest(vectors, centroids, int(empty.sum()))
        centroids = means
        if before - inertia <= tolerance and not empty.any():
            break
        before = inertia
    return Clustering(centroids, assign(vectors, centroids).inertia, done)


def fit(
    vectors: Vectors,
    clusters: int,
    generator: np.random.Generator,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Clustering:
    """`lloyd` from a k-means++ start.

    Raises:
        CapacityError: fewer vectors than clusters.
    """
    if len(vectors) < clusters:
        raise CapacityError(
            f"{len(vectors)} vectors cannot make {clusters} clusters; give more images or a "
            f"smaller --classes"
        )
    return lloyd(vectors, seeds(vectors, clusters, generator), iterations, tolerance)


def restart(vectors: Vectors, clusters: int, seed: int, number: int) -> Clustering:
    """Restart `number` (from 0) on a sample of the vectors (N, D); its inertia on another one.

    Raises:
        CapacityError: fewer vectors than clusters.
    """
    generator = np.random.default_rng([seed, number])
    some = sample(vectors, max(SAMPLE, SAMPLE_PER_CLUSTER * clusters), generator)
    part = some[::PART] if len(some) >= SAMPLE_PER_CLUSTER * clusters else some
    start = fit(part, clusters, generator, tolerance=RESTART_TOLERANCE)
    run = lloyd(some, start.centroids, tolerance=RESTART_TOLERANCE)
    judged = sample(vectors, JUDGED, np.random.default_rng(seed))
    return run._replace(inertia=assign(judged, run.centroids).inertia)


def sample(vectors: Vectors, count: int, generator: np.random.Generator) -> Vectors:
    """A sample of `count` vectors without replacement; all of them if there are no more."""
    if len(vectors) <= count:
        return vectors
    return vectors[np.sort(generator.choice(len(vectors), count, replace=False))]


def best(clusterings: list[Clustering]) -> int:
    """Index of the run with the lowest inertia; the first of equals."""
    return int(np.argmin([run.inertia for run in clusterings]))
