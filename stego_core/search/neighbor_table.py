"""Exact nearest neighbours by cosine, block by block, merged into one table."""

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

NOBODY = -1
"""Id in columns of the table for which there are too few rows."""
TIE = 2e-6
"""Cosines closer than this may be equal ones, told apart by a library's rounding alone."""
PAIRS = 1024
"""Pairs of vectors that are multiplied at once: as many as fit a processor's cache."""
TIED_QUERIES = 64
"""Queries with ties that are compared with a block at once; bounds memory."""
GPU_QUERIES = 2048
"""Queries that a GPU compares with a block at once; bounds its memory."""


@dataclass
class Neighbors:
    """The k best matches of each query among the rows seen so far; merging is associative.

    Ordered by falling similarity, equal ones by rising id, so that the outcome does not depend
    on how the rows were cut into blocks.

    Attributes:
        ids: (n, k) int64 global rows, −1 where fewer than k were seen.
        similarities: (n, k) float32 cosines, −inf where fewer than k were seen.
    """

    ids: Rows
    similarities: Vectors

    @classmethod
    def create(cls, queries: int, k: int) -> "Neighbors":
        """A table over no rows."""
        return cls(
            np.full((queries, k), NOBODY, np.int64), np.full((queries, k), -np.inf, np.float32)
        )

    def at(self, queries: Rows | NDArray[np.bool_]) -> "Neighbors":
        """A copy of the rows of some queries."""
        return Neighbors(self.ids[queries], self.similarities[queries])

    def floor(self) -> Vectors:
        """(n,) rough cosines that a row must exceed to come among the k best, or tie with them."""
        return np.asarray(self.similarities.min(axis=1) - np.float32(TIE))

    def add(self, queries: Vectors, block: Vectors, ids: Rows, device: str = "cpu") -> "Neighbors":
        """Include a block of rows; the table has the same bytes on every device.

        Args:
            queries: (n, C) float32 of norm 1.
            block: (m, C) float32 of norm 1.
            ids: (m,) their global rows.
            device: where torch computes all products; on `cpu` faiss does.
        """
        k = min(self.ids.shape[1], len(block))
        if k == 0 or not len(queries):
            return self
        rough, positions = _most_similar(queries, block, min(k + 1, len(block)), device)
        floor = self.floor()
        last, after = rough[:, k - 1], rough[:, -1] if rough.shape[1] > k else -np.inf
        tied = (last - after < TIE) & (last > floor)
        wanted = (rough[:, :k] > floor[:, None]) & ~tied[:, None]
        candidates = np.where(wanted, positions[:, :k], NOBODY)
        table = self.include(queries, candidates, block.__getitem__, ids)
        numbers = np.flatnonzero(tied)
        for first in range(0, len(numbers), TIED_QUERIES):
            some = numbers[first : first + TIED_QUERIES]
            near = queries[some] @ block.T > last[some, None] - TIE
            part = self.at(some).include(queries[some], _positions(near), block.__getitem__, ids)
            table.ids[some], table.similarities[some] = part.ids, part.similarities
        return table

    def include(
        self, queries: Vectors, positions: Rows, vectors: Callable[[Rows], Vectors], ids: Rows
    ) -> "Neighbors":
        """The table with some candidates of each query, their cosines summed in a fixed order.

        What a library computes of a cosine depends on how many it computes at once.

        Args:
            queries: (n, C) float32.
            positions: (n, m) of candidates in a block, −1 for none.
            vectors: makes a copy (p, C) of the block's rows at positions (p,).
            ids: (b,) global rows of the block.
        """
        asked, columns = np.nonzero(positions != NOBODY)
        chosen = positions[asked, columns]
        cosines = np.empty(len(chosen), np.float32)
        for first in range(0, len(chosen), PAIRS):
            pairs = slice(first, first + PAIRS)
            products = vectors(chosen[pairs])
            products *= queries[asked[pairs]]
            products.sum(axis=1, out=cosines[pairs])
        found = Neighbors.create(*positions.shape)
        found.ids[asked, columns], found.similarities[asked, columns] = ids[chosen], cosines
        table = Neighbors(self.ids.copy(), self.similarities.copy())
        rows = np.unique(asked)
        part = table.at(rows).merge(found.at(rows))
        table.ids[rows], table.similarities[rows] = part.ids, part.similarities
        return table

    def merge(self, other: "Neighbors") -> "Neighbors":
        """The k best of both tables, for the same queries."""
        k = self.ids.shape[1]
        ids = np.concatenate([self.ids, other.ids], axis=1)
        similarities = np.concatenate([self.similarities, other.similarities], axis=1)
        order = np.lexsort((ids, -similarities), axis=1)[:, :k]
        return Neighbors(
            np.take_along_axis(ids, order, axis=1),
            np.take_along_axis(similarities, order, axis=1),
        )

    def self_first(self, own: Rows) -> "Neighbors":
        """The same table with each query's own global row moved to rank 0.

        A duplicate image has the same vector and may sort before the row itself. If k of them
        do, the row itself is not in the table: it takes the last one's place, with cosine 1.

        More blocks may be added to the outcome and the own rows moved again: it is then as if
        all blocks had been there before. For behind rank 0 are the k − 1 best other rows, wherever
        the own row had ranked, and a row that k others had pushed out would be so by more, too.
        """
        mine = self.ids == own[:, None]
        others = np.argsort(mine, axis=1, kind="stable")[:, : self.ids.shape[1] - 1]
        cosines = np.max(self.similarities, axis=1, initial=-np.inf, where=mine)
        cosines = np.where(mine.any(axis=1), cosines, np.float32(1))
        return Neighbors(
            np.concatenate([own[:, None], np.take_along_axis(self.ids, others, 1)], axis=1),
            np.concatenate(
                [cosines[:, None], np.take_along_axis(self.similarities, others, 1)], axis=1
            ),
        )

    def is_of(self, queries: Vectors, own: Rows) -> bool:
        """Whether rank 0 is what `self_first` gives these queries: own rows, their cosines or 1."""
        cosines, stored = (queries * queries).sum(axis=1), self.similarities[:, 0]
        return bool((self.ids[:, 0] == own).all() and ((stored == cosines) | (stored == 1)).all())


def _most_similar(
    queries: Vectors, block: Vectors, count: int, device: str
) -> tuple[Vectors, Rows]:
    """(n, count) cosines, rounded as a library does, and positions in the block, best first."""
    if device == "cpu":
        cosines, positions = faiss.knn(
            np.ascontiguousarray(queries),
            np.ascontiguousarray(block),
            count,
            metric=faiss.METRIC_INNER_PRODUCT,
        )
        return cosines, positions
    rows = torch.from_numpy(block).to(device).T
    parts = [queries[first : first + GPU_QUERIES] for first in range(0, len(queries), GPU_QUERIES)]
    best = [(torch.from_numpy(part).to(device) @ rows).topk(count) for part in parts]
    values, indices = (torch.cat(each).cpu().numpy() for each in zip(*best, strict=True))
    return values, indices


def _positions(chosen: NDArray[np.bool_]) -> Rows:
    """(n, p) int64 the columns of (n, m) that are chosen in each row, filled up with −1."""
    width = int(chosen.sum(axis=1).max(initial=0))
    columns = np.argsort(~chosen, axis=1, kind="stable")[:, :width]
    return np.where(np.take_along_axis(chosen, columns, axis=1), columns, NOBODY)
