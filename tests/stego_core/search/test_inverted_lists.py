"""Inverted lists find the neighbours that lie in the lists they search, and no others."""

from collections.abc import Iterator

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.search import inverted_lists
from stego_core.search.neighbor_table import NOBODY, Neighbors

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def one_faiss_thread() -> Iterator[None]:
    """Small arrays on a shared machine: threads would wait for each other."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def clustered(
    rng: np.random.Generator, count: int, clusters: int, noise: float, depth: int = 33
) -> Vectors:
    centres = unit(rng.normal(size=(clusters, depth)))[rng.integers(0, clusters, count)]
    spread = rng.normal(size=(count, depth)) * noise / np.sqrt(depth)
    return np.asarray(unit(centres + spread), np.float32)


def segments_of(
    rows: Vectors, ids: NDArray[np.int64], centroids: Vectors, size: int
) -> list[tuple[faiss.IndexIVFFlat, NDArray[np.int64]]]:
    parts = [slice(first, first + size) for first in range(0, len(rows), size)]
    return [(inverted_lists.segment([rows[part]], centroids), ids[part]) for part in parts]


def assert_same_bytes(one: Neighbors, other: Neighbors) -> None:
    assert one.ids.tobytes() == other.ids.tobytes()
    assert one.similarities.tobytes() == other.similarities.tobytes()


class TestCentroids:
    def test_have_norm_one_and_as_many_as_asked_for(self, rng: np.random.Generator) -> None:
        sample = clustered(rng, 2000, 40, 0.5, depth=64)
        made = inverted_lists.centroids(sample, 60, seed=0)
        assert (made.shape, made.dtype) == ((60, 64), np.float32)
        np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)

    def test_no_more_than_vectors(self, rng: np.random.Generator) -> None:
        assert len(inverted_lists.centroids(clustered(rng, 5, 5, 1.0), 40, seed=0)) == 5

    def test_lists_hold_what_resembles_each_other(self, rng: np.random.Generator) -> None:
        sample = clustered(rng, 2000, 20, 0.5, depth=64)
        numbers = inverted_lists.nearest_lists(
            sample, inverted_lists.centroids(sample, 60, seed=0)
        )[:, 0]
        same = numbers[:, None] == numbers
        np.fill_diagonal(same, False)
        assert (sample @ sample.T)[same].mean() > 0.7

    def test_the_seed_decides_and_threads_do_not(self, rng: np.random.Generator) -> None:
        sample = clustered(rng, 3000, 50, 0.9, depth=64)
        one = inverted_lists.centroids(sample, 100, seed=0)
        faiss.omp_set_num_threads(2)
        two, other = (inverted_lists.centroids(sample, 100, seed) for seed in (0, 1))
        assert faiss.omp_get_max_threads() == 2
        faiss.omp_set_num_threads(1)
        assert one.tobytes() == two.tobytes() != other.tobytes()

    def test_count_grows_with_the_root(self) -> None:
        assert [inverted_lists.list_count(rows) for rows in (0, 1, 100, 10_000)] == [1, 3, 30, 300]
        assert inverted_lists.list_count(10**9) == inverted_lists.MOST_LISTS


def test_nearest_lists_are_those_of_the_largest_products(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inverted_lists, "BLOCK", 7)
    rows, centroids = clustered(rng, 30, 4, 0.7), clustered(rng, 9, 9, 0.1)
    products = rows.astype(float) @ centroids.T.astype(float)
    order = np.argsort(-products, axis=1)
    assert inverted_lists.nearest_lists(rows, centroids, 3).tolist() == order[:, :3].tolist()
    assert inverted_lists.nearest_lists(rows, centroids, 20).tolist() == order.tolist()


class TestSearch:
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(
        seed=st.integers(0, 2**32 - 1),
        k=st.integers(1, 9),
        probes=st.integers(1, 6),
        size=st.sampled_from([13, 64, 1000]),
        distinct=st.sampled_from([40, 1000]),
    )
    def test_is_exact_among_the_lists_searched(
        self, seed: int, k: int, probes: int, size: int, distinct: int
    ) -> None:
        rng = np.random.default_rng(seed)
        rows = clustered(rng, distinct, 9, 0.6)[rng.integers(0, distinct, 120)]
        ids, queries = rng.permutation(1000)[:120], np.concatenate([rows[:40], units(rng, 20)])
        centroids = inverted_lists.centroids(rows, int(rng.choice([9, 60])), seed=0)
        segments = segments_of(rows, ids, centroids, size)
        table = inverted_lists.search(
            Neighbors.create(60, k), queries, centroids, lambda: segments, probes
        )
        numbers = inverted_lists.nearest_lists(rows, centroids)[:, 0]
        order = inverted_lists.nearest_lists(queries, centroids, len(centroids))
        for query in range(0, 60, 7):
            width = probes
            while width < len(centroids) and np.isin(numbers, order[query, :width]).sum() < k:
                width *= 2
            some = np.isin(numbers, order[query, :width])
            cosines = (rows[some] * queries[query]).sum(axis=1)
            best = np.sort(cosines)[::-1][:k]
            assert table.similarities[query, : len(best)].tobytes() == best.tobytes()
            clear = cosines > best[-1]  # any of those that tie for the last rank may be there
            assert set(ids[some][clear].tolist()) <= set(table.ids[query].tolist())

    @pytest.mark.parametrize("size", [11, 100, 1000])
    def test_all_lists_give_the_exact_table(self, rng: np.random.Generator, size: int) -> None:
        rows, ids = clustered(rng, 300, 9, 0.8), np.arange(300)
        centroids = inverted_lists.centroids(rows, 20, seed=0)
        segments = segments_of(rows, ids, centroids, size)
        others = Neighbors.create(300, 5).with_rows(
            rows, clustered(rng, 20, 6, 1.0), 1000 + ids[:20]
        )
        for before in (Neighbors.create(300, 5), others):
            found = inverted_lists.search(before, rows, centroids, lambda: segments, 99)
            assert_same_bytes(found, before.with_rows(rows, rows, ids))

    def test_threads_do_not_matter(self, rng: np.random.Generator) -> None:
        rows, ids, tables = clustered(rng, 2000, 9, 0.8), np.arange(2000), []
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            centroids = inverted_lists.centroids(rows, 60, seed=0)
            segments = segments_of(rows, ids, centroids, 700)
            nothing = Neighbors.create(2000, 5)
            tables.append(inverted_lists.search(nothing, rows, centroids, lambda s=segments: s, 3))
        faiss.omp_set_num_threads(1)
        assert_same_bytes(*tables)

    def test_no_queries_and_no_rows(self, rng: np.random.Generator) -> None:
        rows = clustered(rng, 30, 3, 0.5)
        centroids = inverted_lists.centroids(rows, 4, seed=0)
        segments = segments_of(rows, np.arange(30), centroids, 50)
        table = inverted_lists.search(
            Neighbors.create(0, 3), rows[:0], centroids, lambda: segments, 2
        )
        assert table.ids.shape == (0, 3)
        empty = [(inverted_lists.segment([], centroids), np.arange(0))]
        table = inverted_lists.search(Neighbors.create(30, 3), rows, centroids, lambda: empty, 2)
        assert (table.ids == NOBODY).all()

    def test_a_stored_index_is_the_same(self, rng: np.random.Generator) -> None:
        rows, ids = clustered(rng, 300, 9, 0.8), np.arange(300)
        centroids = inverted_lists.centroids(rows, 20, seed=0)
        index = inverted_lists.segment([rows[:100], rows[100:]], centroids)
        stored = faiss.deserialize_index(faiss.serialize_index(index))
        one, two = (
            inverted_lists.search(
                Neighbors.create(300, 5), rows, centroids, lambda i=i: [(i, ids)], 2
            )
            for i in (index, stored)
        )
        assert_same_bytes(one, two)


class TestFewestProbes:
    def test_by_hand(self) -> None:
        order = np.array([[0, 1, 2], [2, 0, 1]])
        numbers = np.array([[0, 0], [2, 1]])
        assert inverted_lists.fewest_probes(order, numbers, 0.75) == (1, 0.75)
        assert inverted_lists.fewest_probes(order, numbers, 0.76) == (3, 1.0)
        assert inverted_lists.fewest_probes(order[:, :2], numbers, 0.76) == (None, 0.75)
        assert inverted_lists.fewest_probes(order[:0], numbers[:0], 0.5) == (None, 0.0)

    def test_tell_the_recall_of_a_search(self, rng: np.random.Generator) -> None:
        rows, ids, k = clustered(rng, 800, 5, 0.8), np.arange(800), 6
        centroids = inverted_lists.centroids(rows, 30, seed=0)
        segments = segments_of(rows, ids, centroids, 300)
        truth = Neighbors.create(800, k).with_rows(rows, rows, ids).ids
        order = inverted_lists.nearest_lists(rows, centroids, 30)
        numbers = inverted_lists.nearest_lists(rows, centroids)[:, 0][truth]
        for wanted in (0.5, 0.9, 0.985):
            probes, recall = inverted_lists.fewest_probes(order, numbers, wanted)
            assert probes is not None
            found = inverted_lists.search(
                Neighbors.create(800, k), rows, centroids, lambda: segments, probes
            ).ids
            hits = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
            # Where the lists hold fewer than k rows, more of them are searched.
            assert wanted <= recall <= sum(hits) / (800 * k) + 1e-5 < recall + 0.05


def units(rng: np.random.Generator, count: int, depth: int = 33) -> Vectors:
    return np.asarray(unit(rng.normal(size=(count, depth))), np.float32)
