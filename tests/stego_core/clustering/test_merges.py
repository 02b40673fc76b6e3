"""Ward's hierarchy against scipy, against a slow version, and where clusters are kept apart."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from stego_core.clustering import merges


def clusters(seed: int, count: int = 12) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Random centroids and areas."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, 5)), generator.uniform(0.1, 3, count)


def slow(points: NDArray[np.float64], areas: NDArray[np.float64]) -> list[tuple[set[int], float]]:
    """Each step's group and cost: every pair's centroids and areas computed anew."""
    groups = [{number} for number in range(len(points))]
    shares, steps = areas / areas.sum(), []

    def spread(group: set[int]) -> float:
        rows = sorted(group)
        mean = np.average(points[rows], axis=0, weights=shares[rows])
        return float((shares[rows] * ((points[rows] - mean) ** 2).sum(axis=1)).sum())

    while len(groups) > 1:
        pairs = [(a, b) for a in range(len(groups)) for b in range(a)]
        costs = [spread(groups[a] | groups[b]) - spread(groups[a]) - spread(groups[b])
                 for a, b in pairs]  # fmt: skip
        a, b = pairs[int(np.argmin(costs))]
        steps.append((groups[a] | groups[b], min(costs)))
        groups = [g for n, g in enumerate(groups) if n not in (a, b)] + [steps[-1][0]]
    return steps


@pytest.mark.parametrize("seed", range(5))
def test_equal_areas_are_scipys_ward(seed: int) -> None:
    points, _ = clusters(seed)
    joins = merges.ward(points, np.full(12, 7.0))
    assert hierarchy.is_valid_linkage(joins)
    expected = hierarchy.ward(points)
    np.testing.assert_array_equal(joins[:, [0, 1, 3]], expected[:, [0, 1, 3]])
    np.testing.assert_allclose(joins[:, 2] * 12**0.5, expected[:, 2])


@pytest.mark.parametrize("seed", range(5))
def test_areas_weigh_as_the_slow_version_says(seed: int) -> None:
    points, areas = clusters(seed)
    joins, steps = merges.ward(points, areas), slow(points, areas)
    for step, (group, cost) in enumerate(steps):
        assert group in map(set, merges.groups(joins, 12, 11 - step))
        assert joins[step, 2] == pytest.approx((2 * cost) ** 0.5)


def test_a_small_cluster_joins_before_a_large_one() -> None:
    points = np.array([[0.0], [1.0], [2.1]])
    assert merges.groups(merges.ward(points, np.array([10.0, 10.0, 1.0])), 3, 2) == [[0], [1, 2]]
    assert merges.groups(merges.ward(points, np.array([1.0, 10.0, 10.0])), 3, 2) == [[0, 1], [2]]


def test_an_empty_cluster_joins_the_nearest() -> None:
    points = np.array([[0.0], [5.0], [9.0], [10.0]])
    joins = merges.ward(points, np.array([3.0, 3.0, 3.0, 0.0]))
    assert merges.groups(joins, 4, 3) == [[0], [1], [2, 3]]
    assert len(merges.ward(points, np.zeros(4))) == 3


@pytest.mark.parametrize("seed", range(5))
def test_some_are_kept_apart(seed: int) -> None:
    points, areas = clusters(seed)
    joins = merges.ward(points, areas, apart=[1, 4, 7])
    assert len(joins) == 12 - 3
    assert (np.diff(joins[:, 2]) >= -1e-12).all()
    for count in range(1, 13):
        found = merges.groups(joins, 12, count)
        assert len(found) == max(count, 3)
        assert all(len({1, 4, 7} & set(group)) <= 1 for group in found)


def test_groups_are_all_clusters_once() -> None:
    joins = merges.ward(*clusters(0))
    for count in range(1, 13):
        found = merges.groups(joins, 12, count)
        assert sorted(number for group in found for number in group) == list(range(12))
        assert len(found) == count


def test_one_cluster_has_nothing_to_join() -> None:
    assert merges.ward(np.ones((1, 3)), np.ones(1)).shape == (0, 4)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.95, 1.0])
def test_the_fewest_groups_that_keep_a_share_of_the_spread(share: float) -> None:
    points, areas = clusters(3)
    joins = merges.ward(points, areas)
    weights = areas / areas.sum()

    def spread(means: NDArray[np.float64], of: NDArray[np.float64]) -> float:
        return float(
            (of * ((means - np.average(means, axis=0, weights=of)) ** 2).sum(axis=1)).sum()
        )

    def kept(count: int) -> float:
        groups = merges.groups(joins, 12, count)
        means = [np.average(points[group], axis=0, weights=weights[group]) for group in groups]
        of = np.array([weights[group].sum() for group in groups])
        return spread(np.stack(means), of) / spread(points, weights)

    count = merges.count_that_keeps(joins, 12, share)
    assert kept(count) >= share - 1e-9
    assert count == 1 or kept(count - 1) < share
