"""Which clusters to merge: Ward's hierarchy of their centroids, weighted by area."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_WEIGHT = 1e-9
"""Least share of all area that a cluster weighs: an empty one joins what it is nearest to."""


def ward(centroids: NDArray[np.floating], areas: Floats, apart: Collection[int] = ()) -> Floats:
    """Ward's hierarchy (1963): each step joins the two clusters whose join costs least.

    Joining a and b raises the sum of squared distances to centroids by
    n_a n_b / (n_a + n_b) ‖c_a − c_b‖², n being areas. Costs of a joined pair come from those of
    its parts (Lance & Williams 1967). Costs never fall from one step to the next, also with
    clusters that are kept apart, as a join costs every third cluster at least what its parts did.

    Args:
        centroids: (K, D).
        areas: (K,) not negative, of any unit.
        apart: ids of clusters of which no two may come together.

    Returns:
        joins (M, 4) float64, a row a step, as of scipy's linkage: the two joined nodes, a join's
        node being K + its row; √(2 · cost), areas being shares of 1; the clusters below it.
        M is K − 1, or fewer where clusters are kept apart.
    """
    weights = np.maximum(areas / max(float(areas.sum()), 1e-300), LEAST_WEIGHT)
    costs = _pair_costs(np.asarray(centroids, np.float64), weights)
    kept_apart = np.array(sorted(apart), np.int64)
    costs[np.ix_(kept_apart, kept_apart)] = np.inf
    nodes, below = np.arange(len(areas)), np.ones(len(areas), np.int64)
    joins: list[tuple[float, ...]] = []
    while len(nodes) > 1 and np.isfinite(costs.min()):
        a, b = sorted(map(int, np.unravel_index(costs.argmin(), costs.shape)))
        pair, size = sorted((int(nodes[a]), int(nodes[b]))), below[a] + below[b]
        joins.append((*pair, float(np.sqrt(2 * costs[a, b])), int(size)))
        costs[a] = costs[:, a] = _joined_costs(costs, weights, a, b)
        weights[a], below[a], nodes[a] = weights[a] + weights[b], size, len(areas) + len(joins) - 1
        costs = np.delete(np.delete(costs, b, axis=0), b, axis=1)
        weights, below, nodes = (np.delete(each, b) for each in (weights, below, nodes))
    return np.array(joins, np.float64).reshape(-1, 4)


def _pair_costs(centroids: Floats, weights: Floats) -> Floats:
    """(K, K) what joining each pair costs; infinite on the diagonal."""
    squares = ((centroids[:, None] - centroids[None]) ** 2).sum(axis=2)
    costs = squares * weights[:, None] * weights / (weights[:, None] + weights)
    np.fill_diagonal(costs, np.inf)
    return np.asarray(costs)


def _joined_costs(costs: Floats, weights: Floats, a: int, b: int) -> Floats:
    """What joining each other cluster with the join of a and b costs."""
    total = weights + weights[a] + weights[b]
    joined = (weights + weights[a]) * costs[a] + (weights + weights[b]) * costs[b]
    joined = (joined - weights * costs[a, b]) / total
    joined[[a, b]] = np.inf
    return np.asarray(joined)


def groups(joins: Floats, clusters: int, count: int) -> list[list[int]]:
    """The clusters of each group, where the cheapest joins leave `count` groups.

    Args:
        joins: of `ward`.
        clusters: K.
        count: groups, in [1, K]; there are more where the joins do not lead so far.

    Returns:
        ids ascending, groups by their first id.
    """
    members = {number: [number] for number in range(clusters)}
    for step, (first, second) in enumerate(joins[: max(clusters - count, 0), :2].astype(int)):
        members[clusters + step] = sorted(members.pop(first) + members.pop(second))
    return sorted(members.values())


def count_that_keeps(joins: Floats, clusters: int, share: float) -> int:
    """The fewest groups that keep a share of the spread of the clusters' centroids.

    The spread is the sum of all joins' costs: of squared distances to the mean of all centroids,
    weighted by area. Each join takes its cost from it.

    Args:
        joins: of `ward`.
        clusters: K.
        share: 0 to 1.
    """
    lost = np.cumsum(joins[:, 2] ** 2)
    return clusters - int(np.searchsorted(lost, (1 - share) * lost[-1:].sum(), side="right"))
