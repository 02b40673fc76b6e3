"""How good features are, without a label: do clusters survive another view, is space used."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr
from torch import Tensor
from torch.nn import functional

from stego_core.clustering import kmeans
from stego_core.errors import TrainingError
from stego_core.pretrain.views import (
    Pixels,
    ViewRecipe,
    render,
    sample_augmentations,
    shared_points,
)

CLUSTERS = 16
POINTS = 64
RESTARTS = 3
ITERATIONS = 20


class Quality(NamedTuple):
    """Figures of a feature extractor.

    Attributes:
        agreement: normalised mutual information, in [0, 1], between the clusters that the same
            places fall into in two views of their images. Features that collapse, and features
            that follow colour or the position in the view, have little.
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
        images: (H, W, 3) uint8 each. Those whose two views share nothing are left out; where none
            is left, both figures are 0.
        views: how views are drawn; the local ones are left out.
        seed: of views and clusters, so that figures of different extractors compare.

    Raises:
        TrainingError: the features are not numbers.
    """
    generator = np.random.default_rng(seed)
    plain = replace(views, local_views=0)
    pairs = [sample_augmentations(image.shape[:2], plain, generator) for image in images]
    met = [number for number, pair in enumerate(pairs) if pair[0].box.meets(pair[1].box)]
    if not met:
        return Quality(0.0, 0.0)
    chosen, pairs = [images[number] for number in met], [pairs[number] for number in met]
    points = np.stack([shared_points(a, b, POINTS, generator) for a, b in pairs], axis=1)
    first, second = (
        _at(tokens(render(chosen, [pair[side] for pair in pairs], views.global_size)), points[side])
        for side in (0, 1)
    )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise TrainingError(
            "training went astray: its features are not numbers any more; run it with a lower "
            "--learning-rate"
        )
    vectors = kmeans.unit(first - first.mean(axis=0)).astype(np.float32)
    runs = [kmeans.fit(vectors, CLUSTERS, generator, ITERATIONS) for _ in range(RESTARTS)]
    centroids = runs[kmeans.best(runs)].centroids
    found = [(side - first.mean(axis=0)) @ centroids.T for side in (first, second)]
    return Quality(
        agreement(found[0].argmax(axis=1), found[1].argmax(axis=1), CLUSTERS),
        effective_rank(first),
    )


def _at(maps: Tensor, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (n * p, C) at points (n, p, 2) of maps (n, C, h, w)."""
    places = torch.from_numpy(points)[:, None].to(maps.device)
    found = functional.grid_sample(maps.float(), places, align_corners=False, padding_mode="border")
    return np.asarray(found[:, :, 0].transpose(1, 2).flatten(0, 1).cpu())


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
