"""The number of clusters: overlaps against all matchings, stability on known groups."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.clustering.stability import STABLE, overlaps, stability, stable_count
from stego_core.errors import CapacityError

IDS = 4
sortings = st.integers(1, 24).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, IDS - 1), min_size=n, max_size=n)] * 2)
)


def slow_overlaps(first: list[int], second: list[int]) -> list[float]:
    """The best of all one-to-one matchings, clusters as sets."""

    def jaccard(a: int, b: int) -> float:
        one = {place for place, cluster in enumerate(first) if cluster == a}
        other = {place for place, cluster in enumerate(second) if cluster == b}
        return len(one & other) / max(len(one | other), 1)

    matchings = ([jaccard(a, b) for a, b in enumerate(order)] for order in permutations(range(IDS)))
    return max(matchings, key=sum)


def groups(count: int, spread: float, each: int = 120) -> NDArray[np.float32]:
    """Unit vectors around `count` random directions of 16 dimensions."""
    rng = np.random.default_rng(0)
    centres = np.repeat(unit(rng.standard_normal((count, 16))), each, axis=0)
    return unit(centres + spread * rng.standard_normal(centres.shape)).astype(np.float32)


class TestOverlaps:
    @given(sortings)
    def test_is_the_best_of_all_matchings(self, pair: tuple[list[int], list[int]]) -> None:
        found = overlaps(*(np.array(each) for each in pair), IDS)
        assert found.sum() == pytest.approx(sum(slow_overlaps(*pair)))
        assert ((found >= 0) & (found <= 1)).all()

    def test_names_do_not_matter(self) -> None:
        ids = np.array([0, 0, 1, 1, 2, 2, 2])
        assert overlaps(ids, np.array([2, 2, 0, 0, 1, 1, 1]), 3).tolist() == [1, 1, 1]

    def test_a_split_cluster_shows(self) -> None:
        found = overlaps(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 2, 2, 1, 1]), 3)
        assert found.tolist() == [0.5, 1, 0]


class TestStability:
    @pytest.mark.parametrize("count", [3, 6])
    def test_groups_that_are_there_are_found_again(self, count: int) -> None:
        vectors = groups(count, 0.05)
        curve = {
            k: stability(vectors, k, np.random.default_rng([0, k])) for k in range(2, count + 4)
        }
        assert curve[count] == pytest.approx(1)
        assert all(curve[more] < STABLE for more in range(count + 1, count + 4))
        assert stable_count(curve) == count

    def test_depends_on_the_generator_alone(self) -> None:
        vectors = groups(4, 0.4)
        first, second = (stability(vectors, 6, np.random.default_rng(3)) for _ in range(2))
        assert first == second

    def test_too_few_vectors_are_refused(self) -> None:
        with pytest.raises(CapacityError, match="3 vectors cannot make 4 clusters"):
            stability(groups(1, 0.1, 9), 4, np.random.default_rng(0))


class TestStableCount:
    def test_the_largest_stable_number_wins(self) -> None:
        assert stable_count({2: 0.99, 3: 0.7, 4: 0.95, 5: 0.5}) == 4

    def test_without_a_stable_one_the_most_stable_wins(self) -> None:
        assert stable_count({2: 0.3, 3: 0.6, 4: 0.6, 5: 0.5}) == 3
