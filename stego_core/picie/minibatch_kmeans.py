"""Mini-batch k-means on the pixels of feature maps: faiss's start, then MacQueen's updates."""

from dataclasses import dataclass, field

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.errors import CapacityError

START_ITERATIONS = 20
"""Iterations of k-means that make the start."""
START_VECTORS = 200_000
"""Pixels that the start is made from; they are sampled from its batches."""
BLOCK = 65_536
"""Pixels compared with the centroids at once; bounds memory."""


def nearest(vectors: Tensor, centroids: Tensor) -> Tensor:
    """(N,) int64 nearest centroid (K, D) of vectors (N, D): the greatest 2 f·c − |c|²."""
    closeness = 2 * vectors @ centroids.T - (centroids * centroids).sum(dim=1)
    return closeness.argmax(dim=1)


def nearest_cells(maps: Tensor, centroids: Tensor) -> Tensor:
    """(B, h, w) int64 nearest centroid of every cell of maps (B, D, h, w)."""
    count, depth, height, width = maps.shape
    vectors = maps.permute(0, 2, 3, 1).reshape(-1, depth)
    parts = [nearest(block, centroids) for block in torch.split(vectors, BLOCK)]
    return torch.cat(parts).reshape(count, height, width)


def macqueen(centroids: Tensor, counts: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Centroids (K, D) and counts (K,) float64 after a batch of vectors (N, D) (MacQueen 1967).

    With n_k vectors nearest to c_k, of mean m_k: counts_k grows by n_k, then
    c_k ← (1 − η) c_k + η m_k, η = n_k / counts_k.
    """
    sums, found = torch.zeros_like(centroids, dtype=torch.float64), torch.zeros_like(counts)
    for block in torch.split(vectors, BLOCK):
        member = torch.nn.functional.one_hot(nearest(block, centroids), len(centroids))
        sums += (member.to(block.dtype).T @ block).double()  # a product: its order is fixed
        found += member.sum(dim=0)
    total = counts + found
    rate = (found / total.clamp(min=1))[:, None]
    means = sums / found.clamp(min=1)[:, None]
    return ((1 - rate) * centroids + rate * means).to(centroids.dtype), total


@dataclass
class MiniBatchKMeans:
    """k-means over batches of feature maps that arrive one after another.

    Attributes:
        classes: K.
        start_batches: batches that the start is made from; later ones update it.
        generator: samples the start's pixels.
        centroids: (K, D) float32, once there are any.
        counts: (K,) float64 pixels that each centroid has seen.
    """

    classes: int
    start_batches: int
    generator: np.random.Generator
    centroids: Tensor | None = None
    counts: Tensor | None = None
    _sampled: list[Tensor] = field(default_factory=list)
    _pixels: int = 0

    def add(self, maps: Tensor) -> None:
        """Take in the cells of maps (B, D, h, w) of norm 1."""
        vectors = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        if self.centroids is not None and self.counts is not None:
            self.centroids, self.counts = macqueen(self.centroids, self.counts, vectors)
            return
        size = min(START_VECTORS // self.start_batches, len(vectors))
        rows = self.generator.choice(len(vectors), size, replace=False)
        self._sampled.append(vectors[torch.from_numpy(np.sort(rows)).to(vectors.device)].cpu())
        self._pixels += len(vectors)
        if len(self._sampled) == self.start_batches:
            self._start(maps.device)

    def _start(self, device: torch.device) -> None:
        """Centroids of the sampled pixels; their counts stand for all pixels so far."""
        sample = torch.cat(self._sampled)
        self._sampled.clear()
        self.centroids = start(sample.numpy(), self.classes, self.generator).to(device)
        counts = torch.bincount(nearest(sample.to(device), self.centroids), minlength=self.classes)
        self.counts = counts.double() * (self._pixels / len(sample))

    def result(self) -> Tensor:
        """The centroids (K, D) float32 after all batches, of which there are enough for a start."""
        assert self.centroids is not None  # `start_batches` is no more than there are
        return self.centroids


def start(vectors: NDArray[np.float32], classes: int, generator: np.random.Generator) -> Tensor:
    """(K, D) float32 centroids of vectors (N, D) by faiss's k-means.

    Raises:
        CapacityError: fewer vectors than classes.
    """
    if len(vectors) < classes:
        raise CapacityError(
            f"{len(vectors)} pixels of PiCIE's feature maps cannot make {classes} clusters; give "
            "more images, a larger --picie-size or a smaller --classes"
        )
    run = faiss.Kmeans(
        vectors.shape[1],
        classes,
        niter=START_ITERATIONS,
        seed=int(generator.integers(2**31)),
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),
    )
    run.train(np.ascontiguousarray(vectors, np.float32))
    return torch.from_numpy(np.asarray(run.centroids).reshape(classes, -1).copy())
