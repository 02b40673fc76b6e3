"""Exact neighbours, whatever the blocks."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.search import neighbor_table
from stego_core.search.neighbor_table import NOBODY, Neighbors

Vectors = NDArray[np.float32]


def units(rng: np.random.Generator, count: int, depth: int = 8) -> Vectors:
    return np.asarray(unit(rng.normal(size=(count, depth))), np.float32)


def slow_table(queries: Vectors, rows: Vectors, ids: list[int], k: int) -> list[list[int]]:
    """The ids of the k best rows of each query, by falling cosine, then rising id."""
    table = []
    for query in queries.astype(float):
        cosines = [math.fsum(query * row) for row in rows.astype(float)]
        ranked = sorted(zip(cosines, ids, strict=True), key=lambda c: (-c[0], c[1]))
        table.append([identity for _, identity in ranked[:k]])
    return table


def resummed(queries: Vectors, rows: Vectors, ids: NDArray[np.int64], k: int) -> Neighbors:
    """The table as its bytes must be: all cosines of a query summed one way, sorted, cut."""
    table = Neighbors.create(len(queries), k)
    for place, query in enumerate(queries):
        cosines = (rows * query).sum(axis=1)
        order = np.lexsort((ids, -cosines))[:k]
        table.ids[place, : len(order)] = ids[order]
        table.similarities[place, : len(order)] = cosines[order]
    return table


def slow_self_first(table: Neighbors, own: NDArray[np.int64]) -> Neighbors:
    """Row by row, as one would do it by hand."""
    ids, similarities = [], []
    for row, identity in enumerate(own.tolist()):
        pairs = list(zip(table.ids[row].tolist(), table.similarities[row].tolist(), strict=True))
        mine = [pair for pair in pairs if pair[0] == identity] or [(identity, 1.0)]
        others = [pair for pair in pairs if pair[0] != identity]
        first = [*mine, *others][: len(pairs)]
        ids.append([pair[0] for pair in first])
        similarities.append([pair[1] for pair in first])
    return Neighbors(np.array(ids, np.int64), np.array(similarities, np.float32))


def assert_same_bytes(one: Neighbors, other: Neighbors) -> None:
    for name in ("ids", "similarities"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes(), name


def in_blocks(queries: Vectors, rows: Vectors, k: int, cuts: list[int]) -> Neighbors:
    """One table per block, merged."""
    table = Neighbors.create(len(queries), k)
    edges = [0, *sorted(cuts), len(rows)]
    for start, stop in pairwise(edges):
        part = Neighbors.create(len(queries), k)
        table = table.merged(part.with_rows(queries, rows[start:stop], np.arange(start, stop)))
    return table


class TestAdd:
    @pytest.mark.parametrize("queries", [3, 40])  # faiss takes another path above 20 queries
    def test_equals_the_sorted_list(self, rng: np.random.Generator, queries: int) -> None:
        asked, rows = units(rng, queries), units(rng, 60)
        ids = (np.arange(60) * 7 % 60).tolist()
        table = Neighbors.create(queries, 5).with_rows(asked, rows, np.array(ids))
        assert table.ids.tolist() == slow_table(asked, rows, ids, 5)
        by_id = rows[np.argsort(ids)]
        cosines = np.einsum("qc,qkc->qk", asked, by_id[table.ids])
        np.testing.assert_allclose(table.similarities, cosines, atol=1e-6)

    def test_places_without_a_row_are_empty(self, rng: np.random.Generator) -> None:
        rows = units(rng, 2)
        table = Neighbors.create(2, 4).with_rows(rows, rows, np.array([5, 6]))
        assert table.ids.tolist() == [[5, 6, NOBODY, NOBODY], [6, 5, NOBODY, NOBODY]]
        assert np.isneginf(table.similarities[:, 2:]).all()

    def test_empty_block_adds_nothing(self, rng: np.random.Generator) -> None:
        table = Neighbors.create(2, 3).with_rows(
            units(rng, 2), units(rng, 0), np.array([], np.int64)
        )
        assert (table.ids == NOBODY).all()

    @pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # by faiss, by torch as on a GPU
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 9), count=st.integers(1, 60))
    def test_every_bit_equals_the_cosines_summed_row_by_row(
        self, device: str, seed: int, k: int, count: int
    ) -> None:
        rng = np.random.default_rng(seed)
        depth = int(rng.choice([1, 7, 8, 33, 200]))
        rows = units(rng, count, depth)[rng.integers(0, count, count)]
        queries = np.concatenate([units(rng, int(rng.integers(1, 80)), depth), rows[:20]])
        ids = rng.permutation(1000)[:count]
        table = Neighbors.create(len(queries), k).with_rows(queries, rows, ids, device)
        assert_same_bytes(table, resummed(queries, rows, ids, k))

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from(["cpu", "cpu:0"]))
    def test_nor_do_small_pieces_or_rows_seen_before_change_a_bit(
        self, seed: int, k: int, device: str
    ) -> None:
        rng = np.random.default_rng(seed)
        rows = units(rng, 30, 33)[rng.integers(0, 30, 60)]
        queries, ids = rows[::2], rng.permutation(1000)[:60]
        table = Neighbors.create(len(queries), k)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (("PAIRS", 3), ("TIED_QUERIES", 2), ("GPU_QUERIES", 7)):
                patch.setattr(neighbor_table, name, value)
            for part in np.array_split(np.arange(60), int(rng.integers(1, 6))):
                table = table.with_rows(queries, rows[part], ids[part], device)
        assert_same_bytes(table, resummed(queries, rows, ids, k))

    def test_rows_that_come_too_late_are_not_summed(
        self, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of later blocks only what may be among the k best is looked at again."""
        rows, summed = units(rng, 400), list[int]()

        include = Neighbors.with_candidates

        def noted(self: Neighbors, queries: Vectors, positions: Any, *rest: Any) -> Neighbors:
            summed.append(int((positions != NOBODY).sum()))
            return include(self, queries, positions, *rest)

        monkeypatch.setattr(Neighbors, "with_candidates", noted)
        table = Neighbors.create(400, 5)
        for first in range(0, 400, 100):
            part = slice(first, first + 100)
            table = table.with_rows(rows, rows[part], np.arange(400)[part])
        assert sum(summed) < 0.75 * 4 * 5 * 400
        assert_same_bytes(table, resummed(rows, rows, np.arange(400), 5))

    def test_shapes_and_types(self, rng: np.random.Generator) -> None:
        table = Neighbors.create(4, 3).with_rows(units(rng, 4), units(rng, 9), np.arange(9))
        assert (table.ids.shape, table.ids.dtype) == ((4, 3), np.int64)
        assert (table.similarities.shape, table.similarities.dtype) == ((4, 3), np.float32)


class TestPartition:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 50), max_size=5), st.integers(1, 8))
    def test_blocks_do_not_matter(self, seed: int, cuts: list[int], k: int) -> None:
        rng = np.random.default_rng(seed)
        queries, rows = units(rng, 4), units(rng, 50)
        assert in_blocks(queries, rows, k, cuts).ids.tolist() == slow_table(
            queries, rows, list(range(50)), k
        )

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 50), max_size=5), st.integers(1, 8))
    def test_nor_do_they_among_duplicates(self, seed: int, cuts: list[int], k: int) -> None:
        rng = np.random.default_rng(seed)
        originals = units(rng, 6, depth=33)
        rows = originals[rng.integers(0, 6, 50)]
        queries = units(rng, int(rng.integers(1, 40)), depth=33)
        table = in_blocks(queries, rows, k, cuts)
        assert table.ids.tolist() == slow_table(queries, rows, list(range(50)), k)

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1))
    def test_merging_is_associative_and_commutative(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        queries, rows = units(rng, 3), units(rng, 12)[rng.integers(0, 12, 30)]
        a, b, c = (
            Neighbors.create(3, 4).with_rows(queries, rows[i::3], np.arange(30)[i::3])
            for i in range(3)
        )
        tables = [a.merged(b).merged(c), a.merged(b.merged(c)), c.merged(a).merged(b)]
        for table in tables[1:]:
            assert table.ids.tolist() == tables[0].ids.tolist()
            assert table.similarities.tolist() == tables[0].similarities.tolist()


class TestSelfFirst:
    def table(self) -> Neighbors:
        ids = np.array([[0, 4, 7], [3, 1, 8], [5, 6, 9]])
        cosines = np.array([[1, 0.9, 0.8], [1, 1, 0.7], [1, 1, 1]], np.float32)
        return Neighbors(ids, cosines)

    def test_moves_the_row_itself_to_rank_zero(self) -> None:
        found = self.table().self_first(np.array([0, 1, 2]))
        assert found.ids.tolist() == [[0, 4, 7], [1, 3, 8], [2, 5, 6]]
        np.testing.assert_allclose(found.similarities, [[1, 0.9, 0.8], [1, 1, 0.7], [1, 1, 1]])

    def test_leaves_the_table_alone(self) -> None:
        table = self.table()
        table.self_first(np.array([7, 8, 2]))
        assert table.ids.tolist() == self.table().ids.tolist()

    def test_among_duplicates_every_row_comes_first_in_its_own_list(self) -> None:
        rows = np.tile(np.array([[0.6, 0.8]], np.float32), (6, 1))
        table = Neighbors.create(6, 3).with_rows(rows, rows, np.arange(6)).self_first(np.arange(6))
        assert table.ids[:, 0].tolist() == list(range(6))
        assert all(len(set(row)) == 3 for row in table.ids.tolist())

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 12))
    def test_equals_the_same_done_row_by_row(self, seed: int, k: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        rows = units(rng, 3, 33)[rng.integers(0, 3, count)]
        own = np.arange(count)
        table = resummed(rows, rows, own, k)
        assert_same_bytes(table.self_first(own), slow_self_first(table, own))


class TestGrowing:
    """More blocks for a table whose own rows were moved to the front already."""

    @settings(max_examples=120, deadline=None, derandomize=True)
    @given(
        st.integers(0, 2**32 - 1),
        st.integers(1, 8),
        st.integers(1, 30),
        st.lists(st.integers(0, 30), max_size=4),
    )
    def test_equals_the_table_of_all_blocks(
        self, seed: int, k: int, originals: int, cuts: list[int]
    ) -> None:
        rng = np.random.default_rng(seed)
        rows = units(rng, originals, 33)[rng.integers(0, originals, 30)]
        edges = [0, *sorted(cuts), 30]
        parts = [np.arange(start, stop) for start, stop in pairwise(edges)]
        own = parts.pop(int(rng.integers(len(parts))))
        queries = rows[own]
        rng.shuffle(parts)
        table = Neighbors.create(len(own), k).with_rows(queries, rows[own], own).self_first(own)
        for part in parts:
            table = table.with_rows(queries, rows[part], part).self_first(own)
        assert_same_bytes(table, resummed(queries, rows, np.arange(30), k).self_first(own))

    def test_a_row_that_duplicates_pushed_out_keeps_its_candidates(
        self, rng: np.random.Generator
    ) -> None:
        depth = 33
        one = next(v for v in units(rng, 50, depth) if (v * v).sum() != 1)
        old, new = np.tile(one, (4, 1)), np.stack([one, *units(rng, 2, depth)])
        own = np.array([3, 4, 5, 6])
        base = Neighbors.create(4, 3).with_rows(old, old, own).self_first(own)
        assert base.ids.tolist() == [[3, 4, 5], [4, 3, 5], [5, 3, 4], [6, 3, 4]]
        assert base.similarities[3, 0] == 1 != base.similarities[2, 0]
        for ids in (np.array([0, 1, 2]), np.array([7, 8, 9])):
            table = base.with_rows(old, new, ids).self_first(own)
            whole = resummed(old, np.concatenate([old, new]), np.concatenate([own, ids]), 3)
            assert_same_bytes(table, whole.self_first(own))

    def test_nothing_more_changes_nothing(self, rng: np.random.Generator) -> None:
        rows, own = units(rng, 2, 33)[[0, 1, 0, 0, 1]], np.arange(5)
        table = resummed(rows, rows, own, 2).self_first(own)
        assert_same_bytes(table.self_first(own), table)

    def test_knows_whose_it_is(self, rng: np.random.Generator) -> None:
        rows, own = units(rng, 2, 33)[[0, 1, 0, 0, 1]], np.arange(5)
        table = resummed(rows, rows, own, 2).self_first(own)
        nothing = Neighbors(table.ids, np.zeros_like(table.similarities))
        assert table.is_of(rows, own)
        assert not table.is_of(rows, own[::-1])
        assert not nothing.is_of(rows, own)
        assert not Neighbors.create(5, 2).is_of(rows, own)
