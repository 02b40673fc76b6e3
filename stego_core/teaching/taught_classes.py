"""Classes of patches as people taught them: those of the nodes that a patch resembles."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.teaching import propagation
from stego_core.teaching.patch_graph import NEIGHBOURS, Near, Projection, Vectors, nearest

LEAST = 1e-3
"""Added to each probability: a few neighbours rule no class out."""
SHARPNESS = 2.0
"""Power of the probabilities before the CRF, which would smooth small classes away otherwise
(docs/notes/teaching.md)."""


@dataclass(frozen=True)
class TaughtClasses:
    """The nodes of a graph of patches with their class probabilities.

    Attributes:
        projection: of features into the graph's space.
        positions: (n, D) float32 of the nodes there.
        probabilities: (n, K) float32, over K of sum 1.
    """

    projection: Projection
    positions: Vectors
    probabilities: Vectors

    def __call__(self, features: Vectors) -> Vectors:
        """Class probabilities (h, w, K) float32 of features (h, w, C)."""
        near = near_nodes(features, self.projection, self.positions)
        found = propagation.read_off(near, self.probabilities)
        return found.reshape(*features.shape[:-1], -1)


def near_nodes(features: Vectors, projection: Projection, positions: Vectors) -> Near:
    """The nodes at positions (n, D) that patches of features (h, w, C) resemble, h·w rows."""
    rows = np.asarray(unit(features.reshape(-1, features.shape[-1])), np.float32)
    return nearest(projection(rows), positions, min(NEIGHBOURS, len(positions)))


def log_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log probabilities (..., K) as the CRF begins with, between patches too; a scorer of
    `refined`. They are those of the `SHARPNESS`th power, over K of sum 1.
    """
    scaled = np.float32(SHARPNESS) * np.log(probabilities + np.float32(LEAST))
    return torch.from_numpy(scaled).log_softmax(dim=-1).numpy()
