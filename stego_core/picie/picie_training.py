"""PiCIE's training: batches of views, an epoch's clusters and labels, one step."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.picie import picie_views
from stego_core.picie.feature_pyramid import FeaturePyramid, unit_maps
from stego_core.picie.minibatch_kmeans import MiniBatchKMeans, nearest_cells
from stego_core.picie.picie_losses import class_weights, picie_losses
from stego_core.picie.picie_views import STRIDE, Geometric, Pixels, sample_views

Rows = NDArray[np.int64]
Squares = Callable[[Rows], list[Pixels]]
"""The images of some rows, each square: (S, S, 3) uint8 RGB, S twice the views' size."""
ORDER, VIEWS, STARTS = range(3)
"""What a random generator is for: it tells generators of one seed and epoch apart."""


@dataclass(frozen=True)
class PicieRecipe:
    """How PiCIE is trained.

    Attributes:
        classes: K.
        size: side of the views, pixels; a multiple of 4.
        batch: images of a training step.
        cluster_batch: images of a step of k-means.
        start_batches: of k-means, that its start is made from.
        steps: of an epoch at most; None: until each image was seen.
        learning_rate: Adam's.
    """

    classes: int
    size: int = 320
    epochs: int = 10
    batch: int = 128
    cluster_batch: int = 256
    start_batches: int = 20
    steps: int | None = None
    learning_rate: float = 1e-4
    seed: int = 0

    @property
    def cells(self) -> int:
        """Side of a feature map."""
        return self.size // STRIDE

    def epoch_steps(self, images: int) -> int:
        """Training steps of an epoch."""
        steps = -(-images // self.batch)
        return steps if self.steps is None else min(steps, self.steps)

    def rows(self, images: int, epoch: int) -> Rows:
        """Rows of an epoch's images, in the order in which it sees them."""
        order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(images)
        return order[: self.epoch_steps(images) * self.batch].astype(np.int64)


class PicieBatch(NamedTuple):
    """Views of some images.

    Attributes:
        rows: (B,) of the images.
        first, second: (B, 3, size, size) float32 in [0, 1].
        geometric: of each image, what the first view has and the second's feature map gets.
    """

    rows: Rows
    first: Tensor
    second: Tensor
    geometric: list[Geometric]


def views_of(recipe: PicieRecipe, epoch: int, row: int) -> picie_views.Views:
    """The views of an image in an epoch: the same ones whenever it is read."""
    generator = np.random.default_rng([recipe.seed, VIEWS, epoch, row])
    return sample_views(recipe.cells, generator)


def prepare_batch(squares: Squares, recipe: PicieRecipe, epoch: int, rows: Rows) -> PicieBatch:
    """Both views of the images of some rows."""
    images = squares(rows)
    views = [views_of(recipe, epoch, int(row)) for row in rows]
    pairs = list(zip(images, views, strict=True))
    first = [picie_views.render_first(image, each, recipe.size) for image, each in pairs]
    second = [picie_views.render_second(image, each, recipe.size) for image, each in pairs]
    geometric = [each.geometric for each in views]
    return PicieBatch(rows, torch.stack(first), torch.stack(second), geometric)


def prepare_plain(squares: Squares, recipe: PicieRecipe, rows: Rows) -> Tensor:
    """The evaluation's views (B, 3, size, size) of the images of some rows."""
    images = squares(rows)
    return torch.stack([picie_views.render_plain(image, recipe.size) for image in images])


def view_maps(network: FeaturePyramid, batch: PicieBatch, device: str) -> tuple[Tensor, Tensor]:
    """Feature maps (B, D, h, h) of both views, of norm 1, under the same geometric transform."""
    first = network(batch.first.to(device))
    second = picie_views.transformed(network(batch.second.to(device)), batch.geometric)
    return unit_maps(first), unit_maps(second)


@dataclass
class EpochClusters:
    """What the steps of an epoch learn from; fixed at its beginning.

    Attributes:
        epoch: its number, from 0.
        network: as it was then, in eval mode.
        centroids: (2, K, D) of each view.
        weights: (2, K) of each view's clusters.
        labels: (2, images, cells, cells) uint8 cluster of each cell of the epoch's images.
    """

    epoch: int
    network: FeaturePyramid
    centroids: Tensor
    weights: Tensor
    labels: NDArray[np.uint8]


@dataclass
class PicieState:
    """A training under way: steps done, and the clusters of the epoch that they are in."""

    network: FeaturePyramid
    optimiser: torch.optim.Optimizer
    device: str
    step: int = 0
    clusters: EpochClusters | None = None


class PicieCurve(NamedTuple):
    """One step: the loss and its halves."""

    step: int
    loss: float
    within: float
    across: float


def start(network: FeaturePyramid, recipe: PicieRecipe, device: str) -> PicieState:
    """A training at its start."""
    network = network.to(device)
    return PicieState(network, torch.optim.Adam(network.parameters(), recipe.learning_rate), device)


def frozen(network: FeaturePyramid) -> FeaturePyramid:
    """A copy that stays as it is now, in eval mode."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def cluster_maps(
    maps: Iterable[tuple[Tensor, ...]], views: int, batches: int, recipe: PicieRecipe, epoch: int
) -> Tensor:
    """Centroids (views, K, D) of each view by mini-batch k-means over so many batches of maps."""
    begin = min(recipe.start_batches, batches)
    runs = [
        MiniBatchKMeans(
            recipe.classes, begin, np.random.default_rng([recipe.seed, STARTS, epoch, view])
        )
        for view in range(views)
    ]
    for each in maps:
        for run, view_map in zip(runs, each, strict=True):
            run.add(view_map)
    return torch.stack([run.result() for run in runs])


@torch.no_grad()
def label_batches(
    network: FeaturePyramid,
    batches: Iterable[PicieBatch],
    centroids: Tensor,
    labels: NDArray[np.uint8],
    device: str,
) -> Iterator[Tensor]:
    """Fill in the labels (2, images, cells, cells) of each batch; yields its counts (2, K)."""
    for batch in batches:
        counts = []
        for view, maps in enumerate(view_maps(network, batch, device)):
            clusters = nearest_cells(maps, centroids[view])
            labels[view, batch.rows] = clusters.cpu().numpy().astype(np.uint8)
            counts.append(torch.bincount(clusters.flatten(), minlength=centroids.shape[1]))
        yield torch.stack(counts)


def weights_of(counts: Iterable[Tensor]) -> Tensor:
    """Weights (2, K) of the clusters, from their counts in each batch."""
    return class_weights(torch.stack(list(counts)).sum(dim=0))


def train_step(state: PicieState, batch: PicieBatch) -> PicieCurve:
    """One step of Adam on a batch of an epoch whose clusters are known."""
    clusters = state.clusters
    assert clusters is not None  # an epoch begins with them
    state.network.train()
    labels = torch.from_numpy(clusters.labels[:, batch.rows].astype(np.int64)).to(state.device)
    maps = view_maps(state.network, batch, state.device)
    losses = picie_losses(maps, labels, clusters.centroids, clusters.weights)
    state.optimiser.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    state.step += 1
    return PicieCurve(state.step, *(float(value.detach()) for value in losses))
