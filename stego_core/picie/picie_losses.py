"""PiCIE's losses: each view's pixels against the clusters of their own view and of the other's."""

from typing import NamedTuple

import torch.nn.functional as nnf
from torch import Tensor


class PicieLosses(NamedTuple):
    """The loss of a batch and its two halves, scalars: total = ½ (within + across)."""

    total: Tensor
    within: Tensor
    across: Tensor


def logits(maps: Tensor, centroids: Tensor) -> Tensor:
    """f · c of every cell with every centroid: (B, K, h, w) of maps (B, D, h, w) and (K, D)."""
    return nnf.conv2d(maps, centroids[:, :, None, None])


def picie_losses(
    maps: tuple[Tensor, Tensor], labels: Tensor, centroids: Tensor, weights: Tensor
) -> PicieLosses:
    """Weighted cross-entropy of both views with the labels of both (equations 6 to 9).

    within = ½ [CE(f₁·c⁽¹⁾, y⁽¹⁾) + CE(f₂·c⁽²⁾, y⁽²⁾)],
    across = ½ [CE(f₁·c⁽²⁾, y⁽²⁾) + CE(f₂·c⁽¹⁾, y⁽¹⁾)].

    Args:
        maps: of the two views, (B, D, h, w) of norm 1, under the same geometric transform.
        labels: (2, B, h, w) int64 clusters of each view's cells, among the centroids of that view.
        centroids: (2, K, D) of each view; they get no gradient.
        weights: (2, K) of each view's clusters.
    """

    def entropy(view: int, clusters: int) -> Tensor:
        scores = logits(maps[view], centroids[clusters])
        return nnf.cross_entropy(scores, labels[clusters], weights[clusters])

    within = (entropy(0, 0) + entropy(1, 1)) / 2
    across = (entropy(0, 1) + entropy(1, 0)) / 2
    return PicieLosses((within + across) / 2, within, across)


def class_weights(counts: Tensor) -> Tensor:
    """Share of the pixels that each cluster has, float32 of counts (..., K): as released.

    The paper speaks of balance; the released code weighs a cluster by its share, so that large
    clusters count more, and the published figures come from it.
    """
    return (counts.double() / counts.sum(dim=-1, keepdim=True)).float()
