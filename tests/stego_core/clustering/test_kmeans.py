"""Cosine k-means: its sums, its start, its iterations, against plain loops."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.clustering import kmeans
from stego_core.clustering.kmeans import (
    FINAL_TOLERANCE,
    Clustering,
    assign,
    best,
    farthest,
    fit,
    lloyd,
    seeds,
    unit,
)
from stego_core.errors import CapacityError

Vectors = NDArray[np.float32]


def units(rng: np.random.Generator, count: int, depth: int = 4) -> Vectors:
    return np.asarray(unit(rng.normal(size=(count, depth))), np.float32)


def slow_sums(vectors: Vectors, centroids: Vectors) -> tuple[list, list[int], float]:
    """Sums and counts of each cluster and the summed distance, vector by vector."""
    sums = [[0.0] * vectors.shape[1] for _ in centroids]
    counts, distance = [0] * len(centroids), 0.0
    for vector in vectors.astype(float):
        cosines = [sum(x * y for x, y in zip(vector, c, strict=True)) for c in centroids]
        nearest = cosines.index(max(cosines))
        counts[nearest] += 1
        distance += 1 - max(cosines)
        sums[nearest] = [s + x for s, x in zip(sums[nearest], vector, strict=True)]
    return sums, counts, distance


def groups(rng: np.random.Generator, centres: int = 3, each: int = 40) -> Vectors:
    """Tight groups around orthogonal directions."""
    directions = np.repeat(np.eye(4)[:centres], each, axis=0)
    return np.asarray(unit(directions + 0.05 * rng.normal(size=directions.shape)), np.float32)


class TestAssign:
    def test_equals_the_loop(self, rng: np.random.Generator) -> None:
        vectors, centroids = units(rng, 50), units(rng, 5)
        found = assign(vectors, centroids)
        sums, counts, distance = slow_sums(vectors, centroids)
        assert found.counts.tolist() == counts
        assert found.inertia == pytest.approx(distance / 50, abs=1e-6)
        for row, total in zip(found.means, sums, strict=True):
            np.testing.assert_allclose(
                row, np.array(total) / sum(x * x for x in total) ** 0.5, 1e-4
            )
        assert found.means.dtype == np.float32

    def test_of_nothing(self, rng: np.random.Generator) -> None:
        empty = assign(units(rng, 0), units(rng, 3))
        assert (empty.inertia, empty.counts.tolist()) == (0, [0, 0, 0])
        assert not empty.means.any()

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 60))
    def test_does_not_depend_on_the_partition(self, seed: int, block: int) -> None:
        rng = np.random.default_rng(seed)
        vectors, centroids = units(rng, 60), units(rng, 4)
        whole = assign(vectors, centroids)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kmeans, "BLOCK", block)
            parts = assign(vectors, centroids)
        assert parts.counts.tolist() == whole.counts.tolist()
        np.testing.assert_allclose(parts.means, whole.means, atol=1e-5)
        assert parts.inertia == pytest.approx(whole.inertia, abs=1e-6)


class TestUnit:
    def test_rows_have_norm_one_and_zeros_stay(self) -> None:
        found = unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
        np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]])


class TestSeeds:
    VECTORS = np.asarray(unit(np.array([[1, 0], [1, 0.5], [0, 1], [-1, 0.2]])), np.float32)

    def test_are_drawn_in_proportion_to_the_distance(self) -> None:
        generator = np.random.default_rng(0)
        draws = 6000
        rows = {tuple(vector): row for row, vector in enumerate(self.VECTORS.tolist())}
        found = Counter(
            tuple(rows[tuple(v)] for v in seeds(self.VECTORS, 3, generator).tolist())
            for _ in range(draws)
        )
        distance = 1 - self.VECTORS.astype(float) @ self.VECTORS.astype(float).T
        for first in range(4):
            for second in set(range(4)) - {first}:
                p_second = distance[first, second] / distance[first].sum()
                nearest = np.minimum(distance[first], distance[second])
                nearest[[first, second]] = 0
                for third in set(range(4)) - {first, second}:
                    p = 0.25 * p_second * nearest[third] / nearest.sum()
                    sigma = (draws * p * (1 - p)) ** 0.5
                    assert abs(found[first, second, third] - draws * p) < 5 * sigma

    def test_duplicates_are_never_drawn_twice(self) -> None:
        copies = np.repeat(np.eye(4, dtype=np.float32), 25, axis=0)
        for seed in range(30):
            chosen = seeds(copies, 4, np.random.default_rng(seed))
            assert len(np.unique(chosen, axis=0)) == 4

    def test_fewer_distinct_vectors_than_clusters_still_gives_seeds(self) -> None:
        same = np.tile(np.array([[1, 0]], np.float32), (5, 1))
        assert seeds(same, 3, np.random.default_rng(0)).shape == (3, 2)


class TestRestart:
    def test_sees_a_sample_and_is_judged_on_another(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kmeans, "SAMPLE", 30)
        monkeypatch.setattr(kmeans, "SAMPLE_PER_CLUSTER", 1)
        monkeypatch.setattr(kmeans, "JUDGED", 60)
        vectors, seen = units(rng, 500), list[int]()
        plain = kmeans.lloyd
        monkeypatch.setattr(
            kmeans, "lloyd", lambda v, *a, **k: (seen.append(len(v)), plain(v, *a, **k))[1]
        )
        runs = [kmeans.restart(vectors, 5, seed=7, number=number) for number in range(3)]
        assert seen == [8, 30] * 3  # every fourth of the sample, then all of it
        judged = kmeans.sample(vectors, 60, np.random.default_rng(7))
        for run in runs:
            expected = slow_sums(judged, run.centroids)[2] / 60
            assert run.inertia == pytest.approx(expected, abs=1e-6)
        assert len({run.inertia for run in runs}) == 3

    def test_few_vectors_are_all_seen_from_the_start(self, rng: np.random.Generator) -> None:
        vectors = units(rng, 40)
        found = kmeans.restart(vectors, 5, seed=7, number=0)
        alone = fit(vectors, 5, np.random.default_rng([7, 0]), tolerance=1e-7)
        np.testing.assert_allclose(found.centroids, alone.centroids, atol=1e-5)

    def test_settling_on_all_vectors_never_raises_the_inertia(
        self, rng: np.random.Generator
    ) -> None:
        vectors = units(rng, 400)
        start = seeds(vectors, 6, rng)
        assert (
            lloyd(vectors, start, tolerance=FINAL_TOLERANCE).inertia
            <= assign(vectors, start).inertia
        )

    def test_ends_near_the_best_of_full_runs(self, rng: np.random.Generator) -> None:
        vectors = units(rng, 3000)
        full = min(fit(vectors, 5, np.random.default_rng(s)).inertia for s in range(5))
        runs = [kmeans.restart(vectors, 5, 0, number) for number in range(5)]
        found = lloyd(vectors, runs[best(runs)].centroids, tolerance=FINAL_TOLERANCE).inertia
        assert found == pytest.approx(full, rel=0.01)

    @pytest.mark.parametrize(("count", "expected"), [(3, 3), (10, 10), (11, 10)])
    def test_a_draw_takes_nothing_twice(self, count: int, expected: int) -> None:
        vectors = np.arange(20, dtype=np.float32).reshape(10, 2)
        found = kmeans.sample(vectors, count, np.random.default_rng(0))
        assert len(np.unique(found[:, 0])) == len(found) == expected


class TestFit:
    def test_one_iteration_is_one_lloyd_step(self, rng: np.random.Generator) -> None:
        vectors = units(rng, 80)
        start = seeds(vectors, 4, np.random.default_rng(5))
        found = fit(vectors, 4, np.random.default_rng(5), iterations=1)
        sums, counts, _ = slow_sums(vectors, start)
        assert min(counts) > 0
        expected = np.array(sums) / np.linalg.norm(sums, axis=1, keepdims=True)
        np.testing.assert_allclose(found.centroids, expected, atol=1e-5)
        assert found.inertia == pytest.approx(slow_sums(vectors, found.centroids)[2] / 80, abs=1e-6)
        assert found.iterations == 1

    def test_finds_the_groups(self, rng: np.random.Generator) -> None:
        vectors = groups(rng)
        found = fit(vectors, 3, np.random.default_rng(0))
        order = found.centroids.argmax(axis=1)
        assert sorted(order) == [0, 1, 2]
        for centroid, group in zip(found.centroids, order, strict=True):
            members = vectors[40 * group : 40 * group + 40].astype(float).sum(axis=0)
            np.testing.assert_allclose(centroid, members / np.linalg.norm(members), atol=1e-5)
        assert found.centroids.dtype == np.float32

    def test_ends_where_another_iteration_changes_nothing(self, rng: np.random.Generator) -> None:
        vectors = units(rng, 300)
        found = fit(vectors, 6, np.random.default_rng(1), tolerance=1e-8)
        again = assign(vectors, found.centroids)
        assert found.iterations < 100
        assert again.inertia == pytest.approx(found.inertia, abs=1e-6)
        np.testing.assert_allclose(again.means, found.centroids, atol=1e-4)

    def test_inertia_never_rises_with_more_iterations(self, rng: np.random.Generator) -> None:
        vectors = units(rng, 200)
        runs = [fit(vectors, 5, np.random.default_rng(2), iterations=n) for n in range(1, 12)]
        inertias = [run.inertia for run in runs]
        assert inertias[-1] < inertias[0]
        assert all(b <= a + 1e-6 for a, b in pairwise(inertias))

    def test_depends_on_the_generator_alone(self, rng: np.random.Generator) -> None:
        vectors = units(rng, 100)
        first, again = (fit(vectors, 4, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first.centroids, again.centroids)

    def test_blocks_do_not_change_the_outcome(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vectors = units(rng, 100)
        whole = fit(vectors, 4, np.random.default_rng(3))
        monkeypatch.setattr(kmeans, "BLOCK", 7)
        cut = fit(vectors, 4, np.random.default_rng(3))
        np.testing.assert_allclose(cut.centroids, whole.centroids, atol=1e-5)

    def test_empty_cluster_moves_to_the_worst_served_vector(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vectors = groups(rng)
        poor = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -1]], np.float32)  # nobody's
        monkeypatch.setattr(kmeans, "seeds", lambda *_: poor)
        found = fit(vectors, 3, rng)
        assert sorted(found.centroids.argmax(axis=1)) == [0, 1, 2]
        assert assign(vectors, found.centroids).counts.tolist() == [40, 40, 40]

    def test_every_centroid_is_a_direction_even_among_duplicates(self) -> None:
        same = np.tile(np.array([[0, 1]], np.float32), (5, 1))
        found = fit(same, 3, np.random.default_rng(0))
        np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1)
        assert found.inertia == pytest.approx(0, abs=1e-6)

    def test_as_many_clusters_as_vectors(self, rng: np.random.Generator) -> None:
        assert fit(units(rng, 4), 4, rng).inertia == pytest.approx(0, abs=1e-6)

    def test_too_few_vectors(self, rng: np.random.Generator) -> None:
        with pytest.raises(CapacityError, match="3 vectors cannot make 4 clusters"):
            fit(units(rng, 3), 4, rng)


class TestChoice:
    def test_farthest_resemble_their_centroid_least(self, rng: np.random.Generator) -> None:
        vectors, centroids = units(rng, 30), units(rng, 3)
        worst = sorted(vectors.tolist(), key=lambda v: max(float(np.dot(v, c)) for c in centroids))
        np.testing.assert_allclose(farthest(vectors, centroids, 4), worst[:4])

    def test_lowest_inertia_wins_and_the_first_of_equals(self) -> None:
        runs = [Clustering(np.zeros((1, 1), np.float32), i, 1) for i in (0.3, 0.1, 0.2, 0.1)]
        assert best(runs) == 1
