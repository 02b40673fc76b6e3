"""Quality of features without labels: agreement of clusters between views, effective rank."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr
from torch import Tensor

from stego_core.clustering import kmeans
from stego_core.errors import TrainingError
from stego_core.pretrain.dino import features_at
from stego_core.pretrain.views import (
    Pixels,
    ViewRecipe,
    render,
    sample_augmentations,
    shared_points,
)

CLUSTERS = 16
"""Clusters whose agreement is measured."""
POINTS = 64
"""Points of each image that are clustered."""
RESTARTS = 3
"""Starts of k-means."""
ITERATIONS = 20
"""Iterations of k-means at most."""


class Quality(NamedTuple):
    """Figures of a feature extractor.

    Attributes:
        agreement: normalised mutual information, in [0, 1], between the clusters of the same
            points in two views of their images. It is low of features that collapse, or that
            depend on colour or on the position in the view.
        rank: effective rank of the features, in [1, C]: RankMe (Garrido et al. 2023).
    """

    agreement: float
    rank: float


def quality(
    tokens: Callable[[Tensor], Tensor], images: Sequence[Pixels], views: ViewRecipe, seed: int = 0
) -> Quality:
    """Judge a feature extractor on some images.

    Args:
        tokens: views (n, 3, H, W) float32 in [0, 1] to patch features (n, C, h, w).
        images: (H, W, 3) uint8 each. Those whose two views do not overlap are left out; if none
            is left, both figures are 0.
        views: recipe of the views; the local ones are left out.
        seed: of views and clusters, so that figures of different extractors can be compared.

    Raises:
        TrainingError: the features are not numbers.
    """
    generator = np.random.default_rng(seed)
    recipe = replace(views, local_views=0)
    pairs = [sample_augmentations(image.shape[:2], recipe, generator) for image in images]
    usable = [n for n, (first, second) in enumerate(pairs) if first.box.meets(second.box)]
    if not usable:
        return Quality(0.0, 0.0)
    images, pairs = [images[n] for n in usable], [pairs[n] for n in usable]
    points = np.stack([shared_points(a, b, POINTS, generator) for a, b in pairs], axis=1)

    def features(side: int) -> NDArray[np.float32]:
        maps = tokens(render(images, [pair[side] for pair in pairs], views.global_size))
        at = features_at(maps, torch.from_numpy(points[side]).to(maps.device))
        return np.asarray(at.flatten(0, 1).cpu())

    first, second = features(0), features(1)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise TrainingError(
            "training diverged: its features are not numbers; run it with a lower --learning-rate"
        )
    vectors = kmeans.unit(first - first.mean(axis=0)).astype(np.float32)
    runs = [kmeans.fit(vectors, CLUSTERS, generator, ITERATIONS) for _ in range(RESTARTS)]
    centroids = runs[kmeans.best(runs)].centroids
    one, other = (((x - first.mean(axis=0)) @ centroids.T).argmax(axis=1) for x in (first, second))
    return Quality(agreement(one, other, CLUSTERS), effective_rank(first))


def agreement(first: NDArray[np.integer], second: NDArray[np.integer], clusters: int) -> float:
    """Normalised mutual information of two labellings (n,): 2 I / (H1 + H2); 0 if one is flat."""
    counts = np.zeros((clusters, clusters), np.int64)
    np.add.at(counts, (first, second), 1)
    joint = counts / len(first)
    total = entr(joint.sum(axis=0)).sum() + entr(joint.sum(axis=1)).sum()
    shared = total - entr(joint).sum()
    flat = min(np.count_nonzero(counts.any(axis=axis)) for axis in (0, 1)) < 2
    return 0.0 if flat else float(2 * shared / total)


def effective_rank(features: NDArray[np.float32]) -> float:
    """exp of the entropy of the singular values of features (n, C), scaled to sum 1."""
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    return float(np.exp(entr(values / max(values.sum(), np.finfo(float).tiny)).sum()))
