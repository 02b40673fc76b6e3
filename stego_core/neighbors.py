"""Exact nearest neighbours by cosine, block by block, merged into one table."""

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

NOBODY = -1
"""Id in places of the table for which there are too few rows."""
TIE = 2e-6
"""Cosines closer than this may be equal ones, told apart by faiss's rounding alone."""
TOGETHER = 64
"""Queries whose candidates are summed at once: as many as fit a processor's cache."""


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
        for first in range(0, len(queries), TOGETHER):
            some = slice(first, first + TOGETHER)
            candidates = positions[some, :k]
            found._rank(some, queries[some], block[candidates], ids[candidates])
        if rough.shape[1] > k:
            tied = np.flatnonzero(rough[:, k - 1] - rough[:, k] < TIE)
            for first in range(0, len(tied), TOGETHER):
                rows = tied[first : first + TOGETHER]
                near = queries[rows] @ block.T > rough[rows, k - 1, None] - TIE
                for place, row in enumerate(rows.tolist()):
                    one, among = slice(row, row + 1), near[place]
                    found._rank(one, queries[one], block[None, among], ids[None, among])
        return self.merge(found)

    def _rank(
        self,
        rows: slice,
        queries: NDArray[np.float32],
        candidates: NDArray[np.float32],
        ids: NDArray[np.int64],
    ) -> None:
        """Set some rows (q) to the k best of their candidates (q, m, C) with their ids (q, m).

        faiss keeps any of the rows that tie for the last place, and its rounding depends on the
        block's size: the cosines are summed again, row by row, in a fixed order. The candidates
        are overwritten: memory for their products would cost as much as these.
        """
        candidates *= queries[:, None]
        cosines = candidates.sum(axis=2)
        order = np.lexsort((ids, -cosines), axis=1)[:, : self.ids.shape[1]]
        self.ids[rows] = np.take_along_axis(ids, order, axis=1)
        self.similarities[rows] = np.take_along_axis(cosines, order, axis=1)

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

    def is_of(self, queries: NDArray[np.float32], own: NDArray[np.int64]) -> bool:
        """Whether rank 0 is what `self_first` gives these queries: own rows, their cosines or 1."""
        cosines, found = (queries * queries).sum(axis=1), self.similarities[:, 0]
        return bool((self.ids[:, 0] == own).all() and ((found == cosines) | (found == 1)).all())
