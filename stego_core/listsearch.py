"""Nearest neighbours by cosine through inverted lists: the same table for far fewer products.

A query is compared with the lists whose centroids it resembles most. For the exact table, it is
then compared with every other list that may hold one of its k best.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.lists import Bounds, Numbers, Vectors, nearest_lists
from stego_core.neighbors import TIE, Neighbors

SPARE = 8
"""Rows kept for a query beyond k, so that ties for the last place are seen."""
NEAR = 2
"""Lists, at least, that every query is compared with before others are ruled out."""
MARGIN = 1e-5
"""By how much a bound may be off."""
SHARE = 0.5
"""A query that would see more than this share of all rows is compared with all, block by block."""
NO_LIST = -1
"""Number in places for which a query has no list."""
PILOT = 256
"""Queries that tell whether the others are worth bounds."""
BLOCK, PAIRS = 16, 512
"""Queries bounded at once and pairs of rows summed at once: as many as fit a processor's cache, in
arrays so small or used so often that memory is not asked for again and again."""
RANKED, FLAT = 1024, 65_536
"""Queries ranked at once, and rows compared at once with queries that see all; bound memory."""


@dataclass(frozen=True)
class Span:
    """Rows to search, by list.

    Attributes:
        vectors: (n, C) float32 of norm 1, in any order.
        ids: (n,) int64 their global rows.
        order: (n,) int64 positions, those of each list together.
        edges: (L + 1,) int64 where each list begins in that order.
    """

    vectors: Vectors
    ids: Numbers
    order: Numbers
    edges: Numbers

    @classmethod
    def create(cls, vectors: Vectors, ids: Numbers, numbers: Numbers, lists: int) -> "Span":
        """From the number (n,) of each row's list."""
        order = np.argsort(numbers, kind="stable")
        return cls(vectors, ids, order, np.searchsorted(numbers[order], np.arange(lists + 1)))

    def members(self, number: int) -> Numbers:
        """Positions of a list's rows."""
        return self.order[self.edges[number] : self.edges[number + 1]]


Spans = Callable[[], Iterable[Span]]
"""Begins to read all rows anew, a span at a time."""
Pairs = Iterator[tuple[int, Numbers]]
"""Numbers of lists, each with the queries to compare with its rows."""


class Candidates:
    """For each query the rows of a span that may be among its k best, by products in float32."""

    def __init__(self, table: Neighbors, queries: Vectors, span: Span) -> None:
        """None as yet; `table` holds the best of the rows before this span."""
        shape = len(queries), table.ids.shape[1] + SPARE
        self.table, self.queries, self.span = table, queries, span
        # Not the last column: rank 0 of a table that goes on is the row itself.
        self.floor = table.similarities.min(axis=1) - np.float32(TIE)
        self.cosines = torch.full(shape, -torch.inf)
        self.positions = torch.full(shape, -1, dtype=torch.int32)

    def compare(self, pairs: Pairs) -> "Candidates":
        """Include the rows of lists, for the queries that each of them comes with."""
        for number, rows in pairs:
            members = self.span.members(number)
            if len(members) and len(rows):
                block = torch.from_numpy(self.span.vectors.take(members, axis=0))
                asked = torch.from_numpy(self.queries.take(rows, axis=0))
                self._keep(rows, asked @ block.T, torch.from_numpy(members.astype(np.int32)))
        return self

    def _keep(self, rows: Numbers, products: torch.Tensor, members: torch.Tensor) -> None:
        """Include products (q, m) of some queries with the rows at some positions (m,)."""
        least = np.maximum(self.floor[rows], self.cosines.numpy()[rows, -1])
        better = products.amax(dim=1).numpy() > least
        if not better.any():
            return
        if not better.all():
            rows, products = rows[better], products[torch.from_numpy(better)]
        some, kept = torch.from_numpy(rows), self.cosines.shape[1]
        both = torch.cat([self.positions[some], members.expand(len(rows), -1)], dim=1)
        cosines, places = torch.cat([self.cosines[some], products], dim=1).topk(kept)
        self.cosines[some], self.positions[some] = cosines, both.gather(1, places)

    def ranked(self) -> NDArray[np.bool_]:
        """Enter them into the table; returns (q,) which queries have more ties than are kept.

        Their cosines are summed again as `Neighbors.add` does it, so the table's bytes are its.
        """
        tied = np.zeros(len(self.queries), np.bool_)
        for first in range(0, len(self.queries), RANKED):
            some = slice(first, first + RANKED)
            cosines, positions = self.cosines[some].numpy(), self.positions[some].numpy()
            last = cosines[:, self.table.ids.shape[1] - 1] - np.float32(TIE)
            wanted = cosines > np.maximum(last, self.floor[some])[:, None]
            found = self._summed(self.queries[some], positions, wanted)
            found = Neighbors(self.table.ids[some], self.table.similarities[some]).merge(found)
            self.table.ids[some], self.table.similarities[some] = found.ids, found.similarities
            tied[some] = wanted[:, -1]
        return tied

    def _summed(
        self, queries: Vectors, positions: NDArray[np.int32], wanted: NDArray[np.bool_]
    ) -> Neighbors:
        """A table (q, k + SPARE), not ordered, of the rows that are wanted."""
        found = Neighbors.create(*positions.shape)
        asked, columns = np.nonzero(wanted)
        rows = positions[asked, columns]
        cosines = np.empty(len(rows), np.float32)
        left, right = np.empty((2, min(PAIRS, len(rows)), queries.shape[1]), np.float32)
        for first in range(0, len(rows), PAIRS):
            pairs = slice(first, first + PAIRS)
            count = len(rows[pairs])
            # "clip" as a mode writes to `out` itself; all numbers are valid.
            self.span.vectors.take(rows[pairs], axis=0, out=left[:count], mode="clip")
            queries.take(asked[pairs], axis=0, out=right[:count], mode="clip")
            np.multiply(left[:count], right[:count], out=left[:count])
            left[:count].sum(axis=1, out=cosines[pairs])
        found.ids[asked, columns], found.similarities[asked, columns] = self.span.ids[rows], cosines
        return found


def approximate(
    table: Neighbors,
    queries: Vectors,
    centroids: Vectors,
    counts: Numbers,
    probes: int,
    spans: Spans,
) -> Neighbors:
    """Include the rows of the lists nearest to each query.

    Args:
        table: over other rows, of the same queries.
        queries: (q, C) float32 of norm 1 or 0.
        centroids: (L, C) float32.
        counts: (L,) members of all the lists, over all spans.
        probes: lists for each query; more where these have fewer than k rows.
        spans: the rows; read once.
    """
    near, k = nearest_lists(queries, centroids, probes), table.ids.shape[1]
    few = np.flatnonzero(counts[near].sum(axis=1) < k)
    more = near[few]
    while (counts[more].sum(axis=1) < k).any() and more.shape[1] < len(centroids):
        more = nearest_lists(queries[few], centroids, 2 * more.shape[1])
    before = counts[more].cumsum(axis=1) - counts[more]
    more[(before >= k) & (np.arange(more.shape[1]) >= probes)] = NO_LIST
    wider = (0, more.shape[1] - near.shape[1])
    near = np.pad(near, ((0, 0), wider), constant_values=NO_LIST)
    near[few] = more
    return _near(table, queries, near, spans)[0]


def exact(table: Neighbors, queries: Vectors, bounds: Bounds, spans: Spans) -> Neighbors:
    """Include all rows: the bytes are those of `Neighbors.add` for all spans.

    Args:
        table: over other rows, of the same queries.
        queries: (q, C) float32 of norm 1 or 0.
        bounds: of all the lists, over all spans.
        spans: the rows; read twice, and once more where queries are compared with all of them.
    """
    rows, lists = max(int(bounds.counts.sum()), 1), len(bounds.counts)
    few = -(-NEAR * table.ids.shape[1] * lists // rows)  # lists may be smaller than k
    near = nearest_lists(queries, bounds.centroids, max(NEAR, few))
    found, left = _near(table, queries, near, spans)
    wanted, more = _survivors(found, queries, near, bounds)
    left |= more
    if not left.all():
        for span in spans():
            left |= Candidates(found, queries, span).compare(_unpacked(wanted)).ranked()
    if left.any():
        part = Neighbors(table.ids[left], table.similarities[left])
        part = _all(part, queries[left], spans)
        found.ids[left], found.similarities[left] = part.ids, part.similarities
    return found


def _all(table: Neighbors, queries: Vectors, spans: Spans) -> Neighbors:
    """The table with all rows, whatever their lists."""
    for span in spans():
        for first in range(0, len(span.ids), FLAT):
            some = slice(first, first + FLAT)
            table = table.add(queries, span.vectors[some], span.ids[some])
    return table


def _near(
    table: Neighbors, queries: Vectors, near: Numbers, spans: Spans
) -> tuple[Neighbors, NDArray[np.bool_]]:
    """A new table with the rows of some lists (q, p) of each query, and which have many ties."""
    found = Neighbors(table.ids.copy(), table.similarities.copy())
    tied = np.zeros(len(queries), np.bool_)
    for span in spans():
        tied |= Candidates(found, queries, span).compare(_by_list(near)).ranked()
    return found, tied


def _by_list(near: Numbers) -> Pairs:
    """Lists (q, p) of queries, the other way round."""
    asked, columns = np.nonzero(near != NO_LIST)
    numbers = near[asked, columns]
    if len(numbers):
        order = np.argsort(numbers, kind="stable")
        there, first = np.unique(numbers[order], return_index=True)
        yield from zip(there.tolist(), np.split(asked[order], first[1:]), strict=True)


def _survivors(
    found: Neighbors, queries: Vectors, near: Numbers, bounds: Bounds
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Which lists may hold more of each query's k best, beside those near it.

    Returns:
        a bit per list and query, (L, q / 8), and which queries (q,) are to be compared with all
        rows instead: all of them if a pilot shows that little can be ruled out.
    """
    shares = (bounds.counts / max(int(bounds.counts.sum()), 1)).astype(np.float32)
    least = found.similarities.min(axis=1, keepdims=True) - np.float32(MARGIN)
    wanted = np.zeros((len(shares), -(-len(queries) // 8)), np.uint8)
    pilot = np.linspace(0, max(len(queries) - 1, 0), min(PILOT, len(queries))).astype(np.int64)
    may = bounds(queries[pilot], near[pilot, 0]) > least[pilot]
    if len(pilot) and (may @ shares > SHARE).mean() > SHARE:
        return wanted, np.ones(len(queries), np.bool_)
    left = np.zeros(len(queries), np.bool_)
    for first in range(0, len(queries), BLOCK):
        some = slice(first, first + BLOCK)
        may = bounds(queries[some], near[some, 0]) > least[some]
        np.put_along_axis(may, near[some], False, axis=1)
        left[some] = may @ shares > SHARE
        may[left[some]] = False
        wanted[:, first // 8 : (first + BLOCK) // 8] = np.packbits(may.T, axis=1)
    return wanted, left


def _unpacked(wanted: NDArray[np.uint8]) -> Pairs:
    """Of each list the queries whose bits are set in (L, q / 8)."""
    for number, bits in enumerate(wanted):
        yield number, np.flatnonzero(np.unpackbits(bits))
