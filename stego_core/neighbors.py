"""Exact nearest neighbours by cosine, block by block, merged into one table."""

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

NOBODY = -1
"""Id in places of the table for which there are too few rows."""
TIE = 2e-6
"""Cosines closer than this may be equal ones, told apart by faiss's rounding alone."""


@dataclass
class Neighbors:
    """The k best matches of each query among the rows seen so far; merging is associative.

    Ordered by falling similarity, equal ones by rising id, so that the outcome does not depend
    on how the rows were cut into blocks.

    Attributes:
        ids: (n, k) int64 global rows, −1 where fewer than k were seen.
        similarities: (n, k) float32 cosines, −inf where fewer than k were seen.
    """

    ids: NDArray[np.int64]
    similarities: NDArray[np.float32]

    @classmethod
    def create(cls, queries: int, k: int) -> "Neighbors":
        """A table over no rows."""
        return cls(
            np.full((queries, k), NOBODY, np.int64), np.full((queries, k), -np.inf, np.float32)
        )

    def add(
        self,
        queries: NDArray[np.float32],
        block: NDArray[np.float32],
        ids: NDArray[np.int64],
    ) -> "Neighbors":
        """Include a block of unit vectors (m, C) with their global rows (m,)."""
        k = min(self.ids.shape[1], len(block))
        if k == 0:
            return self
        rough, positions = faiss.knn(
            np.ascontiguousarray(queries),
            np.ascontiguousarray(block),
            min(k + 1, len(block)),
            metric=faiss.METRIC_INNER_PRODUCT,
        )
        found = Neighbors.create(len(queries), k)
        for row, query in enumerate(queries):
            # faiss keeps any of the rows that tie for the last place, and its rounding depends
            # on the block's size: the cosines are summed again, row by row, in a fixed order
            tied = rough.shape[1] > k and rough[row, k - 1] - rough[row, k] < TIE
            candidates = np.arange(len(block)) if tied else positions[row, :k]
            cosines = (block[candidates] * query).sum(axis=1)
            order = np.lexsort((ids[candidates], -cosines))[:k]
            found.ids[row], found.similarities[row] = ids[candidates[order]], cosines[order]
        return self.merge(found)

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

    def self_first(self, own: NDArray[np.int64]) -> "Neighbors":
        """The same table with each query's own global row moved to rank 0.

        A duplicate image has the same vector and may sort before the row itself.
        """
        ids, similarities = self.ids.copy(), self.similarities.copy()
        for row, identity in enumerate(own):
            rank = np.flatnonzero(ids[row] == identity)
            place = int(rank[0]) if len(rank) else ids.shape[1] - 1
            ids[row, : place + 1] = np.roll(ids[row, : place + 1], 1)
            similarities[row, : place + 1] = np.roll(similarities[row, : place + 1], 1)
            if not len(rank):
                ids[row, 0], similarities[row, 0] = identity, 1.0
        return Neighbors(ids, similarities)
