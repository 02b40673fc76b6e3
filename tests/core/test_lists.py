"""The table through inverted lists is the table without them, byte for byte."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core import lists, listsearch
from stego_core.kmeans import unit
from stego_core.lists import Bounds, Members
from stego_core.listsearch import Candidates, Span
from stego_core.neighbors import NOBODY, Neighbors

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


def spans_of(
    rows: Vectors, ids: NDArray[np.int64], numbers: NDArray[np.int64], count: int, size: int
) -> list[Span]:
    parts = [slice(first, first + size) for first in range(0, len(rows), size)]
    return [Span.create(rows[part], ids[part], numbers[part], count) for part in parts]


def assert_same_bytes(one: Neighbors, other: Neighbors) -> None:
    for name in ("ids", "similarities"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes(), name


class TestCentroids:
    def test_every_cluster_has_a_list(self, rng: np.random.Generator) -> None:
        centres = np.asarray(unit(rng.normal(size=(40, 64))), np.float32)
        labels = rng.integers(0, 40, 2000)
        noise = rng.normal(size=(2000, 64)) * 0.5 / 8
        sample = np.asarray(unit(centres[labels] + noise), np.float32)
        found = lists.centroids(sample, 60, True, rng)
        numbers = lists.nearest_lists(sample, found)[:, 0]
        mixed = [len(set(labels[numbers == number].tolist())) for number in range(len(found))]
        assert max(mixed) == 1
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)

    def test_more_lists_where_clusters_are_left_out(self, rng: np.random.Generator) -> None:
        sample = clustered(rng, 4000, 100, 0.3, depth=64)
        assert len(lists.centroids(sample, 40, True, rng)) >= 100
        assert len(lists.centroids(sample, 40, False, rng)) == 40

    def test_no_more_lists_where_there_are_no_clusters(self, rng: np.random.Generator) -> None:
        sample = np.asarray(unit(rng.normal(size=(4000, 64))), np.float32)
        assert len(lists.centroids(sample, 100, True, rng)) == 104  # whole rounds

    def test_no_more_than_distinct_vectors(self, rng: np.random.Generator) -> None:
        sample = clustered(rng, 5, 5, 1.0)[rng.integers(0, 5, 300)]
        assert len(lists.centroids(sample, 40, True, rng)) <= 5

    def test_the_generator_decides(self, rng: np.random.Generator) -> None:
        sample = clustered(rng, 500, 10, 0.7)
        one, two, other = (
            lists.centroids(sample, 20, True, np.random.default_rng(seed)) for seed in (0, 0, 1)
        )
        assert one.tobytes() == two.tobytes() != other.tobytes()

    def test_count_grows_with_the_root(self) -> None:
        assert [lists.list_count(rows, True) for rows in (0, 1, 100, 10_000)] == [1, 4, 40, 400]
        assert lists.list_count(10_000, False) == 300
        assert lists.list_count(10**9, True) == lists.MOST_LISTS


class TestMembers:
    def test_equals_the_loop_whatever_the_parts(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lists, "BLOCK", 7)
        rows, centroids = clustered(rng, 50, 4, 0.7), clustered(rng, 9, 9, 0.1)
        whole, one, two = (Members.create(9) for _ in range(3))
        numbers = whole.add(rows, centroids)
        parts = [one.add(rows[:20], centroids), two.add(rows[20:], centroids)]
        assert np.concatenate(parts).tolist() == numbers.tolist()
        products = rows.astype(float) @ centroids.T.astype(float)
        assert numbers.tolist() == products.argmax(axis=1).tolist()
        for members in (whole, one.merge(two)):
            for number in range(9):
                inside = products[numbers == number]
                reach, most = inside[:, number].min(initial=1), inside.max(axis=0, initial=-1)
                assert members.counts[number] == len(inside)
                np.testing.assert_allclose(members.reach[number], reach, atol=1e-6)
                np.testing.assert_allclose(members.most[number], most, atol=1e-6)

    def test_places_are_those_of_the_nearest(self, rng: np.random.Generator) -> None:
        rows, centroids = clustered(rng, 30, 4, 0.7), clustered(rng, 9, 9, 0.1)
        nearest = lists.nearest_lists(rows, centroids, 9)
        assert lists.nearest_lists(rows, centroids, 3).tolist() == nearest[:, :3].tolist()
        places = lists.places(rows, centroids, nearest)
        assert places.tolist() == [list(range(1, 10))] * 30


class TestBounds:
    @settings(max_examples=80, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([2, 3, 33]))
    def test_hold_for_every_member(self, seed: int, count: int, depth: int) -> None:
        rng = np.random.default_rng(seed)
        rows = clustered(rng, 60, 5, float(rng.choice([0.0, 0.3, 1.0])), depth)
        rows[rng.random(60) < 0.05] = 0
        queries = np.concatenate([rows[:20], -rows[:5], clustered(rng, 20, 5, 1.0, depth)])
        centroids = np.concatenate([rows[:2], clustered(rng, count, count, 0.5, depth)])
        members = Members.create(len(centroids))
        numbers = members.add(rows, centroids)
        own = lists.nearest_lists(queries, centroids)[:, 0]
        bounds = Bounds.create(centroids, members)(queries, own)
        products = queries.astype(float) @ rows.T.astype(float)
        assert (products <= bounds[:, numbers] + listsearch.MARGIN).all()

    def test_rule_out_other_clusters(self, rng: np.random.Generator) -> None:
        rows = clustered(rng, 500, 10, 0.5, depth=384)
        centroids = lists.centroids(rows, 10, True, rng)
        members = Members.create(len(centroids))
        members.add(rows, centroids)
        own = lists.nearest_lists(rows, centroids)[:, 0]
        bounds = Bounds.create(centroids, members)(rows, own)
        other = np.ones(bounds.shape, np.bool_)
        np.put_along_axis(other, own[:, None], False, axis=1)
        assert (bounds[other] < 0.6).mean() > 0.8  # the rest are lists of the same cluster
        assert (rows @ rows.T).max(axis=1).min() > 0.6


class TestExact:
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(
        seed=st.integers(0, 2**32 - 1),
        k=st.integers(1, 9),
        count=st.integers(1, 150),
        distinct=st.sampled_from([1, 3, 40, 1000]),
        noise=st.sampled_from([0.1, 0.6, 2.0]),
        size=st.sampled_from([11, 64, 1000]),
        small=st.booleans(),
    )
    def test_equals_the_search_of_all_rows(
        self, seed: int, k: int, count: int, distinct: int, noise: float, size: int, small: bool
    ) -> None:
        rng = np.random.default_rng(seed)
        depth = int(rng.choice([1, 7, 33, 200]))
        originals = clustered(rng, distinct, 6, noise, depth)
        originals[rng.random(distinct) < 0.03] = 0
        rows = originals[rng.integers(0, distinct, count)]
        ids = rng.permutation(1000)[:count]
        queries = np.concatenate([rows[:60], clustered(rng, int(rng.integers(0, 40)), 6, 1, depth)])
        centroids = lists.centroids(rows, int(rng.integers(1, 20)), True, rng)
        centroids = np.concatenate([centroids, clustered(rng, 2, 2, 1, depth)])  # perhaps empty
        members = Members.create(len(centroids))
        numbers = members.add(rows, centroids)
        spans = spans_of(rows, ids, numbers, len(centroids), size)
        before = Neighbors.create(len(queries), k)
        if rng.random() < 0.5:
            others = clustered(rng, 20, 6, noise, depth)
            before = before.add(queries, others, 1000 + np.arange(20))
        with pytest.MonkeyPatch.context() as patch:
            if small:
                for name, value in (("PILOT", 5), ("BLOCK", 8), ("PAIRS", 3), ("RANKED", 7)):
                    patch.setattr(listsearch, name, value)
                patch.setattr(listsearch, "SHARE", 0.95)
            table = listsearch.exact(
                before, queries, Bounds.create(centroids, members), lambda: spans
            )
        assert_same_bytes(table, before.add(queries, rows, ids))

    def test_clusters_are_searched_one_by_one(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = clustered(rng, 600, 12, 0.5, depth=384)
        centroids = lists.centroids(rows, 12, True, rng)
        members = Members.create(len(centroids))
        spans = spans_of(rows, np.arange(600), members.add(rows, centroids), len(centroids), 1000)
        pairs: list[int] = []
        keep = Candidates._keep

        def noted(self: Candidates, asked: Any, products: torch.Tensor, members: Any) -> None:
            pairs.append(products.numel())
            keep(self, asked, products, members)

        monkeypatch.setattr(Candidates, "_keep", noted)
        monkeypatch.setattr(Neighbors, "add", None)
        table = listsearch.exact(
            Neighbors.create(600, 5), rows, Bounds.create(centroids, members), lambda: spans
        )
        monkeypatch.undo()
        assert sum(pairs) < 0.5 * 600 * 600
        assert_same_bytes(table, Neighbors.create(600, 5).add(rows, rows, np.arange(600)))

    def test_no_structure_is_compared_with_all(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = np.asarray(unit(rng.normal(size=(400, 64))), np.float32)
        centroids = lists.centroids(rows, 20, True, rng)
        members = Members.create(len(centroids))
        spans = spans_of(rows, np.arange(400), members.add(rows, centroids), len(centroids), 90)
        asked: list[int] = []
        bound = Bounds.__call__

        def noted(self: Bounds, queries: Vectors, own: NDArray[np.int64]) -> Vectors:
            asked.append(len(queries))
            return bound(self, queries, own)

        monkeypatch.setattr(Bounds, "__call__", noted)
        monkeypatch.setattr(listsearch, "PILOT", 16)
        before = Neighbors.create(400, 5)
        table = listsearch.exact(before, rows, Bounds.create(centroids, members), lambda: spans)
        assert asked == [16]
        assert_same_bytes(table, before.add(rows, rows, np.arange(400)))

    def test_no_queries_and_no_rows(self, rng: np.random.Generator) -> None:
        rows = clustered(rng, 30, 3, 0.5)
        centroids = lists.centroids(rows, 4, True, rng)
        members, nothing = Members.create(len(centroids)), rows[:0]
        spans = spans_of(rows, np.arange(30), members.add(rows, centroids), len(centroids), 50)
        table = listsearch.exact(
            Neighbors.create(0, 3), nothing, Bounds.create(centroids, members), lambda: spans
        )
        assert table.ids.shape == (0, 3)
        empty = Members.create(len(centroids))
        table = listsearch.exact(
            Neighbors.create(30, 3), rows, Bounds.create(centroids, empty), list
        )
        assert (table.ids == NOBODY).all()


class TestApproximate:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([13, 1000]))
    def test_is_exact_among_the_lists_searched(self, seed: int, probes: int, size: int) -> None:
        rng = np.random.default_rng(seed)
        rows = clustered(rng, 120, 9, 0.6)
        centroids = lists.centroids(rows, int(rng.choice([9, 60])), True, rng)
        numbers = lists.nearest_lists(rows, centroids)[:, 0]
        spans = spans_of(rows, np.arange(120), numbers, len(centroids), size)
        counts = np.bincount(numbers, minlength=len(centroids))
        table = listsearch.approximate(
            Neighbors.create(120, 5), rows, centroids, counts, probes, lambda: spans
        )
        order = lists.nearest_lists(rows, centroids, len(centroids))
        assert (table.ids != NOBODY).all()
        for query in range(0, 120, 7):
            enough = 1 + int(np.argmax(counts[order[query]].cumsum() >= 5))
            some = np.flatnonzero(np.isin(numbers, order[query, : max(probes, enough)]))
            one = Neighbors.create(1, 5).add(rows[[query]], rows[some], some)
            assert table.ids[query].tolist() == one.ids[0].tolist()
            assert table.similarities[query].tobytes() == one.similarities[0].tobytes()

    def test_places_tell_the_recall(self, rng: np.random.Generator) -> None:
        rows, k = clustered(rng, 800, 5, 0.8), 6
        centroids = lists.centroids(rows, 30, True, rng)
        numbers = lists.nearest_lists(rows, centroids)[:, 0]
        spans = spans_of(rows, np.arange(800), numbers, len(centroids), 1000)
        truth = Neighbors.create(800, k).add(rows, rows, np.arange(800)).ids
        places = lists.places(rows, centroids, numbers[truth])
        counts = np.bincount(numbers, minlength=len(centroids))
        search = partial(listsearch.approximate, Neighbors.create(800, k), rows, centroids, counts)
        for probes in (1, 2, 5, 30):
            found = search(probes, lambda: spans).ids
            plenty = counts[lists.nearest_lists(rows, centroids, probes)].sum(axis=1) >= k
            pairs = zip(found[plenty], truth[plenty], strict=True)
            hits = [len(np.intersect1d(one, other)) for one, other in pairs]
            assert plenty.mean() > 0.9
            assert sum(hits) == (places[plenty] <= probes).sum()
        assert 0.3 < (places <= 1).mean() < 0.99
