"""Nearest patches by cosine: coarse cells and product quantisation, scanned by table look-ups.

A patch x of norm 1 is kept as the number of its cell, whose centroid c resembles it most, and as a
code of what is left, x − c ≈ r̂: M bytes, each of which names one of 256 centres of a part of the
channels (Jégou, Douze and Schmid 2011, with unit vectors and inner products). The cosine with a
query q is then

    q·x ≈ q·c + Σₘ T[m, codeₘ],    T[m, j] = qₘ · centre j of part m,

one table for all cells. Candidates found so are to be compared again with the patches themselves.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
from numpy.typing import NDArray

from stego_core import lists
from stego_core.errors import CapacityError

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]
Codes = NDArray[np.uint8]

CODE_BYTES = 48
"""Bytes of a code at most."""
CENTRES = 256
"""Centres of each part: what a byte can name."""
TRAINED = 64
"""Residuals per centre that the centres are made from; four times as many gain nothing."""
ITERATIONS = 10
LEAST_CELLS, MOST_CELLS = 16, 1024
NOWHERE = -1
"""Cell of a patch that is not searched."""


def cell_count(patches: int) -> int:
    """How many cells so many patches are put into: each patch is compared with all of them."""
    return int(np.clip(round(np.sqrt(patches)), LEAST_CELLS, MOST_CELLS))


@dataclass(frozen=True)
class Codebook:
    """What turns patches into cells and codes.

    Attributes:
        centroids: (L, C) float32 of norm 1.
        centres: (M, 256, C / M) float32.
    """

    centroids: Vectors
    centres: Vectors

    @classmethod
    def create(cls, sample: Vectors, cells: int, generator: np.random.Generator) -> "Codebook":
        """From a sample (n, C) float32 of norm 1; `generator` draws the start.

        Raises:
            CapacityError: there is no patch in the sample.
        """
        if not len(sample):
            raise CapacityError("there are no patches to search; no image could be read")
        found = lists.centroids(sample, cells, False, generator)
        own = lists.nearest_lists(sample, found)[:, 0]
        residuals = sample - found[own]
        channels = sample.shape[1]
        parts = max(m for m in range(1, CODE_BYTES + 1) if channels % m == 0)
        quantizer = faiss.ProductQuantizer(channels, parts, 8)
        quantizer.cp.niter, quantizer.cp.max_points_per_centroid = ITERATIONS, TRAINED
        quantizer.cp.min_points_per_centroid = 1  # it would print a warning
        wanted = max(min(len(residuals), CENTRES * TRAINED), CENTRES)
        drawn = generator.choice(len(residuals), wanted, replace=wanted > len(residuals))
        quantizer.train(np.ascontiguousarray(residuals[drawn]))
        centres = faiss.vector_to_array(quantizer.centroids)
        return cls(found, centres.reshape(parts, CENTRES, channels // parts))

    @cached_property
    def quantizer(self) -> faiss.ProductQuantizer:
        """The centres as faiss has them."""
        parts, _, depth = self.centres.shape
        made = faiss.ProductQuantizer(parts * depth, parts, 8)
        faiss.copy_array_to_vector(np.ascontiguousarray(self.centres).ravel(), made.centroids)
        return made

    def encode(self, vectors: Vectors) -> tuple[NDArray[np.int16], Codes]:
        """Cells (n,) int16 and codes (n, M) uint8 of vectors (n, C) float32 of norm 1."""
        cells = lists.nearest_lists(vectors, self.centroids)[:, 0]
        residuals = np.ascontiguousarray(vectors - self.centroids[cells])
        codes = np.asarray(self.quantizer.compute_codes(residuals))
        return cells.astype(np.int16), codes.reshape(len(vectors), -1)

    def table(self, query: Vectors) -> Vectors:
        """(M, 256) float32 products of a query's parts (C,) with their centres."""
        parts, _, depth = self.centres.shape
        return np.asarray(np.einsum("mjd,md->mj", self.centres, query.reshape(parts, depth)))


@dataclass(frozen=True)
class PatchIndex:
    """Coded patches by cell; M + 4 bytes each.

    Attributes:
        codebook: what the codes mean.
        codes: (M, N) uint8, a column for each patch: those of a cell together.
        patches: (N,) uint32 numbers of the patches.
        edges: (L + 1,) int64 where each cell begins.
    """

    codebook: Codebook
    codes: Codes
    patches: NDArray[np.uint32]
    edges: Numbers

    @classmethod
    def create(
        cls,
        codebook: Codebook,
        counts: Numbers,
        parts: Iterable[tuple[NDArray[np.int16], Codes, int]],
    ) -> "PatchIndex":
        """From parts, one at a time: memory is that of the index and of one part.

        Args:
            codebook: that the parts were encoded with.
            counts: (L,) patches of each cell in all parts.
            parts: cells (n,) with NOWHERE for patches to leave out, codes (n, M), number of the
                first patch.

        Raises:
            CapacityError: there are more patches than numbers for them.
        """
        edges = np.concatenate([[0], np.cumsum(counts)])
        total, width = int(edges[-1]), len(codebook.centres)
        codes, patches = np.empty((width, total), np.uint8), np.empty(total, np.uint32)
        filled = edges[:-1].copy()
        for cells, part, first in parts:
            if first + len(cells) > np.iinfo(np.uint32).max:
                raise CapacityError(
                    f"{first + len(cells):,} patches are more than can be searched at once "
                    f"({np.iinfo(np.uint32).max:,}); search fewer dumps"
                )
            order = np.argsort(cells, kind="stable")
            order = order[np.searchsorted(cells[order], 0) :]  # NOWHERE is below
            own = cells[order]
            there, begins, sizes = np.unique(own, return_index=True, return_counts=True)
            places = (filled[there] - begins).repeat(sizes) + np.arange(len(own))
            codes[:, places], patches[places] = part[order].T, order + first
            filled[there] += sizes
        return cls(codebook, codes, patches, edges)

    def nearest_cells(self, query: Vectors) -> Numbers:
        """(L,) numbers of all cells, those first whose centroids resemble the query (C,) most."""
        return np.argsort(-(self.codebook.centroids @ query), kind="stable")

    def scan(self, query: Vectors, cells: Numbers) -> tuple[Numbers, Vectors]:
        """Approximate cosines of a query (C,) of norm 1 with all patches of some cells (p,).

        Returns:
            (n,) int64 numbers of the patches and (n,) float32 cosines, cell by cell.
        """
        spans = [slice(*self.edges[cell : cell + 2]) for cell in cells]
        codes = np.concatenate([self.codes[:, span] for span in spans], axis=1)
        sizes = [span.stop - span.start for span in spans]
        cosines = np.repeat(self.codebook.centroids[cells] @ query, sizes)
        for products, column in zip(self.codebook.table(query), codes, strict=True):
            cosines += products.take(column)
        patches = np.concatenate([self.patches[span] for span in spans]).astype(np.int64)
        return patches, cosines


def best_groups(groups: Numbers, values: Vectors, count: int) -> tuple[Numbers, Numbers]:
    """The groups with the greatest single values, best first, at most `count`.

    Args:
        groups: (n,) int64 group of each value, not negative.
        values: (n,) float32.
        count: how many.

    Returns:
        their numbers (c,), and the places (c,) of their greatest values among the n.
    """
    if not len(groups):
        return groups, groups
    best = np.full(int(groups.max()) + 1, -np.inf, np.float32)
    np.maximum.at(best, groups, values)
    limit = np.partition(best, -count)[-count] if count < len(best) else -np.inf
    places = np.flatnonzero((values == best[groups]) & (values >= limit))
    order = places[np.argsort(-values[places], kind="stable")]
    _, first = np.unique(groups[order], return_index=True)
    kept = order[np.sort(first)[:count]]
    return groups[kept], kept


def compared(query: Vectors, patches: NDArray[np.floating]) -> Vectors:
    """Exact cosines (n, m) float32 of a query (C,) of norm 1 with patches (n, m, C)."""
    values = patches.astype(np.float32)
    norms = np.sqrt(np.einsum("nmc,nmc->nm", values, values))
    return np.asarray(values @ query / np.maximum(norms, np.finfo(np.float32).tiny))
