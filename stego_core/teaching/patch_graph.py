"""The graph of sampled patches: each is joined to those that its features resemble most.

Features of all images are centred, projected to their leading principal axes and scaled, so that
one width of the weights fits every backbone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

DEPTH = 192
"""Principal axes of the features that are kept: all of a ViT-Tiny's; 64 of them were a little worse
(docs/notes/teaching.md)."""
NEIGHBOURS = 10
"""Patches that one is joined to."""
WIDTH = 2.0
"""γ of the weights exp(−γ |a − b|²), where |a|² is 1 on average."""
TINY = float(np.finfo(np.float32).tiny)
BLOCK = 1024
"""Patches compared with all others at once; bounds memory, not the outcome's meaning."""


@dataclass(frozen=True)
class Projection:
    """Features (..., C) to positions (..., D) in the graph's space: (f − mean) · axes.

    Attributes:
        mean: (C,) float32.
        axes: (C, D) float32 principal axes, scaled so that |position|² is 1 on average.
    """

    mean: Vectors
    axes: Vectors

    @classmethod
    def of(cls, features: Vectors, depth: int = DEPTH) -> "Projection":
        """The leading axes of features (n, C); fewer than `depth` where they have no more."""
        mean = features.mean(axis=0, dtype=np.float64)
        centred = features - mean
        spread, axes = np.linalg.eigh(centred.T @ centred / len(features))
        leading = np.argsort(spread)[::-1][:depth]
        # An axis' sign is arbitrary, and differs between libraries: its largest part is positive.
        axes = axes[:, leading]
        largest = np.abs(axes).argmax(axis=0)
        axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
        total = max(float(spread[leading].sum()), TINY)
        return cls(mean.astype(np.float32), (axes / np.sqrt(total)).astype(np.float32))

    def __call__(self, features: Vectors) -> Vectors:
        """Positions (..., D) float32 of features (..., C)."""
        return np.asarray((features - self.mean) @ self.axes, np.float32)


class Near(NamedTuple):
    """The nodes that resemble each of some patches most, nearest first.

    Attributes:
        nodes: (n, k) int64.
        weights: (n, k) float32 in (0, 1].
    """

    nodes: Rows
    weights: Vectors


@dataclass(frozen=True)
class PatchGraph:
    """Sampled patches, and how much each resembles others.

    Attributes:
        positions: (n, D) float32 of the nodes.
        near: of each node its nearest others; empty columns have weight 0.
    """

    positions: Vectors
    near: Near

    @classmethod
    def of(cls, positions: Vectors, neighbours: int = NEIGHBOURS) -> "PatchGraph":
        """Join each of the nodes (n, D) to its nearest others."""
        count = min(neighbours + 1, len(positions))
        found = nearest(positions, positions, count)
        own = found.nodes == np.arange(len(positions))[:, None]
        # Of equal patches another may come first: then the last one is left out instead.
        own[~own.any(axis=1), -1] = True
        others = [part[~own].reshape(len(positions), count - 1) for part in found]
        return cls(positions, Near(*others))

    def nearest_nodes(self, positions: Vectors, neighbours: int = NEIGHBOURS) -> Near:
        """The nodes that patches (n, D) resemble most."""
        return nearest(positions, self.positions, min(neighbours, len(self.positions)))


def nearest(queries: Vectors, positions: Vectors, count: int) -> Near:
    """The `count` positions (m, D) nearest to each query (n, D), and exp(−γ · distance²)."""
    targets = torch.from_numpy(positions)
    norms = (targets * targets).sum(dim=1)
    nodes, distances = [], []
    for first in range(0, max(len(queries), 1), BLOCK):
        block = torch.from_numpy(queries[first : first + BLOCK])
        # |q − t|² less |q|², which orders nothing.
        rank = torch.addmm(norms, block, targets.T, alpha=-2)
        found = rank.topk(count, dim=1, largest=False)
        nodes.append(found.indices)
        distances.append(found.values + (block * block).sum(dim=1, keepdim=True))
    squared = torch.cat(distances).clamp(min=0)
    weights = torch.exp(-WIDTH * squared)
    return Near(torch.cat(nodes).numpy(), weights.numpy())
