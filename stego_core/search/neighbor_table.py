"""Exact nearest neighbours by cosine: tables of blocks of rows, merged into one."""

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

NOBODY = -1
"""Id in the columns that remain empty because there are too few rows."""
TIE = 2e-6
"""Cosines closer than this may be equal and differ by a library's rounding alone."""
PAIRS = 1024
"""Pairs of vectors that are multiplied at once: they fit into a processor's cache."""
TIED_QUERIES = 64
"""Queries with ties that are compared with a block at once; bounds memory."""
GPU_QUERIES = 2048
"""Queries that a GPU compares with a block at once; bounds its memory."""


@dataclass
class Neighbors:
    """The k rows that resemble each query most; a value that merges into new ones, associatively.

    Ordered by falling similarity, equal ones by rising id, so that the outcome does not depend
    on how the rows were cut into blocks.

    Attributes:
        ids: (n, k) int64 global rows, −1 in empty columns.
        similarities: (n, k) float32 cosines, −inf in empty columns.
    """

    ids: Rows
    similarities: Vectors

    @classmethod
    def create(cls, queries: int, k: int) -> "Neighbors":
        """A table over no rows."""
        return cls(
            np.full((queries, k), NOBODY, np.int64), np.full((queries, k), -np.inf, np.float32)
        )

    def at(self, queries: Rows | NDArray[np.bool_] | slice) -> "Neighbors":
        """A copy of the rows of some queries."""
        return Neighbors(self.ids[queries].copy(), self.similarities[queries].copy())

    def floor(self) -> Vectors:
        """(n,) rough cosines that a row must exceed to be among the k best or to tie with them."""
        return np.asarray(self.similarities.min(axis=1) - np.float32(TIE))

    def with_rows(
        self, queries: Vectors, block: Vectors, ids: Rows, device: str = "cpu"
    ) -> "Neighbors":
        """The table over a further block of rows (m, C), whose global rows are `ids` (m,).

        Queries (n, C) and block are float32 of norm 1. The table has the same bytes on every
        device; torch computes the products there, faiss on `cpu`.
        """
        k = min(self.ids.shape[1], len(block))
        if k == 0 or not len(queries):
            return self
        rough, positions = _most_similar(queries, block, min(k + 1, len(block)), device)
        floor = self.floor()
        last, after = rough[:, k - 1], rough[:, -1] if rough.shape[1] > k else -np.inf
        tied = (last - after < TIE) & (last > floor)
        certain = (rough[:, :k] > floor[:, None]) & ~tied[:, None]
        candidates = np.where(certain, positions[:, :k], NOBODY)
        table = self.with_candidates(queries, candidates, block.__getitem__, ids)
        numbers = np.flatnonzero(tied)
        for first in range(0, len(numbers), TIED_QUERIES):
            some = numbers[first : first + TIED_QUERIES]
            near = _columns(queries[some] @ block.T > last[some, None] - TIE)
            part = self.at(some).with_candidates(queries[some], near, block.__getitem__, ids)
            table.ids[some], table.similarities[some] = part.ids, part.similarities
        return table

    def with_candidates(
        self, queries: Vectors, positions: Rows, vectors: Callable[[Rows], Vectors], ids: Rows
    ) -> "Neighbors":
        """The table over further candidates, with cosines that are summed in a fixed order.

        A library's cosine depends on how many it computes at once, so none of those is kept.

        Args:
            queries: (n, C) float32.
            positions: (n, m) of each query's candidates in a block, −1 for none.
            vectors: makes a copy (p, C) of the block's rows at positions (p,).
            ids: (b,) global rows of the block.
        """
        numbers, columns = np.nonzero(positions != NOBODY)
        candidates = positions[numbers, columns]
        cosines = np.empty(len(candidates), np.float32)
        for first in range(0, len(candidates), PAIRS):
            pairs = slice(first, first + PAIRS)
            products = vectors(candidates[pairs])
            products *= queries[numbers[pairs]]
            products.sum(axis=1, out=cosines[pairs])
        further = Neighbors.create(*positions.shape)
        further.ids[numbers, columns] = ids[candidates]
        further.similarities[numbers, columns] = cosines
        table, changed = self.at(slice(None)), np.unique(numbers)
        part = self.at(changed).merged(further.at(changed))
        table.ids[changed], table.similarities[changed] = part.ids, part.similarities
        return table

    def merged(self, other: "Neighbors") -> "Neighbors":
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
        do, the row itself is not in the table: it replaces the last one, with cosine 1.

        Tables of more blocks may be merged into the outcome and the own rows moved again, as if
        all blocks had been searched at once: behind rank 0 are the k − 1 best other rows, whatever
        the rank of the own row was, and a row that k others displaced would be displaced by more.
        """
        is_own = self.ids == own[:, None]
        others = np.argsort(is_own, axis=1, kind="stable")[:, : self.ids.shape[1] - 1]
        cosines = np.max(self.similarities, axis=1, initial=-np.inf, where=is_own)
        cosines = np.where(is_own.any(axis=1), cosines, np.float32(1))
        ids, similarities = (
            np.concatenate([first[:, None], np.take_along_axis(values, others, 1)], axis=1)
            for first, values in ((own, self.ids), (cosines, self.similarities))
        )
        return Neighbors(ids, similarities)

    def is_of(self, queries: Vectors, own: Rows) -> bool:
        """Whether rank 0 is as `self_first` makes it: own rows, with their cosine or 1."""
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
    values, indices = (torch.cat(parts).cpu().numpy() for parts in zip(*best, strict=True))
    return values, indices


def _columns(mask: NDArray[np.bool_]) -> Rows:
    """(n, p) int64 columns of a mask (n, m) that are true in each row, filled up with −1."""
    width = int(mask.sum(axis=1).max(initial=0))
    columns = np.argsort(~mask, axis=1, kind="stable")[:, :width]
    return np.where(np.take_along_axis(mask, columns, axis=1), columns, NOBODY)
