"""One training of PiCIE: its epochs, its curve, and what a checkpoint holds."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from stego_core.errors import TrainingError
from stego_core.picie import picie_training as training
from stego_core.picie.feature_pyramid import FeaturePyramid, unit_maps
from stego_core.picie.picie_training import (
    EpochClusters,
    PicieBatch,
    PicieCurve,
    PicieRecipe,
    PicieState,
    Rows,
    Squares,
)
from tasks.engine import checkpoints, stop
from tasks.engine.prefetch import ahead
from tasks.workspace.ledger import Folder

BATCHES_AHEAD = 2
"""Batches that are rendered while the one before them is computed."""


@dataclass
class PicieRun:
    """The state of a training, its images, and its curve so far.

    Attributes:
        images: how many there are.
    """

    state: PicieState
    recipe: PicieRecipe
    squares: Squares
    images: int
    curve: list[PicieCurve] = field(default_factory=list)

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch."""
        return self.recipe.epoch_steps(self.images)

    def prepare(self, step: int) -> PicieBatch:
        """The batch of a step, from 0."""
        epoch, number = divmod(step, self.epoch_steps)
        rows = self._parts(epoch, self.recipe.batch)[number]
        return training.prepare_batch(self.squares, self.recipe, epoch, rows)

    def train(self, batches: Iterable[PicieBatch]) -> Iterator[PicieCurve]:
        """Learn from each batch; yields the row of its step. Epochs begin with clusters.

        Raises:
            TrainingError: the loss is not a number any more.
        """
        for batch in batches:
            if self.state.step % self.epoch_steps == 0:
                self._begin_epoch(self.state.step // self.epoch_steps)
            row = training.train_step(self.state, batch)
            if not math.isfinite(row.loss):
                raise TrainingError(
                    f"PiCIE diverged at step {row.step} (loss {row.loss:.4g}); run it with a lower "
                    "--picie-learning-rate"
                )
            self.curve.append(row)
            yield row

    def _begin_epoch(self, epoch: int) -> None:
        """Cluster both views of the epoch's images, label them, and weigh the clusters."""
        network = training.frozen(self.state.network)
        view_maps = partial(training.view_maps, network, device=self.state.device)
        parts = self._parts(epoch, self.recipe.cluster_batch)
        with torch.no_grad():
            maps = (view_maps(batch) for batch in self._read(epoch, parts))
            centroids = training.cluster_maps(maps, 2, len(parts), self.recipe, epoch)
        self._label(epoch, network, centroids)

    def _label(self, epoch: int, network: FeaturePyramid, centroids: torch.Tensor) -> None:
        """Label the images of an epoch whose centroids are known, and begin its steps."""
        cells = self.recipe.cells
        labels = np.zeros((2, self.images, cells, cells), np.uint8)
        batches = self._read(epoch, self._parts(epoch, self.recipe.cluster_batch))
        counts = training.label_batches(network, batches, centroids, labels, self.state.device)
        weights = training.weights_of(counts)
        self.state.clusters = EpochClusters(epoch, network, centroids, weights, labels)

    def _parts(self, epoch: int, size: int) -> list[Rows]:
        """The rows of an epoch's images, in batches of a size."""
        rows = self.recipe.rows(self.images, epoch)
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def _read(self, epoch: int, parts: list[Rows]) -> Iterator[PicieBatch]:
        """Batches of an epoch's views; a StoppedError between them if the run is to stop."""
        make = partial(training.prepare_batch, self.squares, self.recipe, epoch)
        for _, batch in ahead(parts, make, BATCHES_AHEAD):
            stop.check()
            yield batch

    def final_centroids(self) -> torch.Tensor:
        """(K, DEPTH) centroids of the finished network, of the evaluation's views."""
        network, epoch = training.frozen(self.state.network), self.recipe.epochs
        parts = self._parts(epoch, self.recipe.cluster_batch)
        views = ahead(
            parts, partial(training.prepare_plain, self.squares, self.recipe), BATCHES_AHEAD
        )
        with torch.no_grad():
            maps = ((unit_maps(network(view.to(self.state.device))),) for _, view in views)
            return training.cluster_maps(maps, 1, len(parts), self.recipe, epoch)[0]

    def remark(self, row: PicieCurve) -> str:
        """The remark that the progress shows on a step."""
        epoch = (row.step - 1) // self.epoch_steps + 1
        return f"epoch {epoch} · within {row.within:.2f} · across {row.across:.2f}"

    def tensors(self) -> dict[str, Any]:
        """All that training needs to go on, for a checkpoint; labels are made again."""
        clusters = self.state.clusters
        assert clusters is not None  # there is no checkpoint before the first step
        return {
            **checkpoints.of_module(self.state.network, "network"),
            **checkpoints.of_module(clusters.network, "frozen"),
            **checkpoints.of_optimiser(self.state.optimiser),
            "centroids": clusters.centroids,
            "curve": np.array(self.curve, np.float64),
        }

    def restore(self, step: int, stored: checkpoints.Tensors) -> None:
        """Continue from a checkpoint, made after so many steps."""
        self.state.step = step
        checkpoints.load_module(self.state.network, "network", stored)
        checkpoints.load_optimiser(self.state.optimiser, stored)
        self.curve = [PicieCurve(int(row[0]), *map(float, row[1:])) for row in stored["curve"]]
        epoch, within = divmod(step, self.epoch_steps)
        if within:  # else an epoch begins
            network = training.frozen(self.state.network)
            checkpoints.load_module(network, "frozen", stored)
            centroids = torch.from_numpy(stored["centroids"]).to(self.state.device)
            self._label(epoch, network, centroids)


def resumed(
    folder: Folder,
    network: FeaturePyramid,
    recipe: PicieRecipe,
    squares: Squares,
    images: int,
    device: str,
) -> PicieRun:
    """The training of the newest readable checkpoint in a stage's folder, or at its start."""
    run = PicieRun(training.start(network, recipe, device), recipe, squares, images)
    if (checkpoint := checkpoints.newest(folder, "picie")) is not None:
        run.restore(*checkpoint)
    return run
