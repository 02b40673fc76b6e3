"""Training of the head: one step, and the loop that repeats it."""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core import calibration
from stego_core.calibration import Measured, Tokens
from stego_core.correspondence import Sampled, batch_terms, derangement
from stego_core.head import Head
from stego_core.shifts import Triple

RANDOM_DRAWS = 5
"""Random partners per anchor and step, as in STEGO."""
POSITIVE_RANKS = 7
"""A positive is drawn from ranks 1 to this; rank 0 is the image itself."""


class Images(NamedTuple):
    """Patches of some rows.

    Attributes:
        patches: (n, h, w, C) float16 features.
        weights: (n, h, w) float32 above 0, relative chances of an image's patches to be drawn; None
            where all are alike.
    """

    patches: NDArray[np.float16]
    weights: NDArray[np.float32] | None = None


class ImageReader(Protocol):
    """Gives rows of patch features, from memory or from storage."""

    def __call__(self, rows: NDArray[np.int64]) -> Images:
        """The patches of n rows, in the order asked for."""
        ...


@dataclass(frozen=True)
class TrainingSet:
    """What the head learns from.

    Attributes:
        images: reader of rows.
        rows: (M,) int64 rows that are valid, in order.
        positives: (M, r) int64 rows of each one's nearest neighbours, itself left out.
    """

    images: ImageReader
    rows: NDArray[np.int64]
    positives: NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """How the head is trained.

    Attributes:
        steps: optimiser steps.
        batch: images per step.
        grid: side of the sampled grid; grid² tokens of each image take part in a step.
        learning_rate: of Adam.
        seed: every draw of step t comes from (seed, t) alone, so a resumed run draws the same.
        weights: λ of the self, knn and random term.
        averaging: decay, in [0, 1), of the moving average of the head's weights; 0 keeps the last.
    """

    steps: int
    batch: int
    grid: int
    learning_rate: float
    seed: int
    weights: Triple
    averaging: float = 0.0


@dataclass
class TrainingState:
    """Where training stands; saving it and loading it continues the run exactly.

    Attributes:
        head, optimiser, step, average: what a step changes; `average` is the head that training
            ends with.
        shifts: b of the self, knn and random term.
    """

    head: Head
    optimiser: torch.optim.Adam
    shifts: Triple
    step: int
    average: Head


class Curve(NamedTuple):
    """One row of the training curve: losses and mean code correspondences of a step."""

    step: int
    loss: float
    loss_self: float
    loss_knn: float
    loss_rand: float
    mean_self: float
    mean_knn: float
    mean_rand: float

    @property
    def means(self) -> Triple:
        """Mean code correspondence of self, knn and random pairs."""
        return Triple(self.mean_self, self.mean_knn, self.mean_rand)


class Batch(NamedTuple):
    """Token features of one step, each (B, n, C) float32."""

    anchor: Tensor
    positive: Tensor
    other: Tensor


def start(
    channels: int, code_size: int, dropout: float, recipe: Recipe, shifts: Triple, device: str
) -> TrainingState:
    """The state before the first step; its weights depend on the seed alone."""
    head = Head.create(channels, code_size, step_generator(recipe.seed, 0), dropout).to(device)
    optimiser = torch.optim.Adam(head.parameters(), lr=recipe.learning_rate)
    return TrainingState(head, optimiser, shifts, 0, copy.deepcopy(head))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step: independent of all other steps."""
    mixed = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


def draw_batch(data: TrainingSet, recipe: Recipe, generator: torch.Generator) -> Batch:
    """Draw anchors and positives, then grid² tokens of each.

    Tokens are drawn before the head runs, so that it sees those alone: less work than codes for
    whole images (benchmarks/speed.py). A position is uniform over the patches, the
    nearest-patch reading of STEGO's uniform coordinates. Set 1 serves the anchor, set 2 the
    positive and, on the anchors themselves, the random partners. Where patches have weights,
    positions follow them, and the random partners have a set of their own.
    """
    anchors = torch.randint(len(data.rows), (recipe.batch,), generator=generator).numpy()
    ranks = torch.randint(data.positives.shape[1], (recipe.batch,), generator=generator).numpy()
    images = data.images(data.rows[anchors])
    neighbours = data.images(data.positives[anchors, ranks])
    first, second = (positions(each, recipe.grid**2, generator) for each in (images, neighbours))
    third = second if images.weights is None else positions(images, recipe.grid**2, generator)
    return Batch(
        take(images.patches, first), take(neighbours.patches, second), take(images.patches, third)
    )


def positions(images: Images, count: int, generator: torch.Generator) -> Tensor:
    """Flat positions (n, count) int64 of patches of n images, drawn with replacement."""
    number, height, width, _ = images.patches.shape
    if images.weights is None:
        return torch.randint(height * width, (number, count), generator=generator)
    weights = torch.from_numpy(images.weights.reshape(number, height * width))
    return torch.multinomial(weights, count, replacement=True, generator=generator)


def take(patches: NDArray[np.float16], positions: Tensor) -> Tensor:
    """Tokens (B, n, C) float32 of patches (B, h, w, C) at flat positions (B, n)."""
    flat = patches.reshape(len(patches), -1, patches.shape[-1])
    chosen = np.take_along_axis(flat, positions.numpy()[..., None], axis=1)
    return torch.from_numpy(chosen.astype(np.float32))


def train_step(
    state: TrainingState, batch: Batch, recipe: Recipe, generator: torch.Generator
) -> Curve:
    """One step of Adam on the three terms."""
    device = next(state.head.parameters()).device
    anchor, positive, other = (
        Sampled(tokens, state.head(tokens, generator))
        for tokens in (part.to(device) for part in batch)
    )
    derangements = torch.stack(
        [derangement(len(batch.anchor), generator) for _ in range(RANDOM_DRAWS)]
    )
    losses, means = batch_terms(anchor, positive, other, derangements.to(device), state.shifts)
    weights = recipe.weights
    loss = weights.self * losses.self + weights.knn * losses.knn + weights.rand * losses.rand
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch: untyped
    state.optimiser.step()
    row = Curve(
        state.step,
        loss.item(),
        *Triple(*(term.item() for term in losses)),
        *Triple(*(mean.item() for mean in means)),
    )
    state.step += 1
    follow(state.average, state.head, recipe.averaging, state.step)
    return row


@torch.no_grad()
def follow(average: Head, head: Head, decay: float, step: int) -> None:
    """Move the average towards the head after step number `step` (from 1).

    The average is Σ_t decay^(step − t) θ_t / Σ_t decay^(step − t) over t = 1 … step: no weight is
    left on where training began, however short it is (as Adam corrects its moments).
    """
    share = (1 - decay) / (1 - decay**step)
    for mean, value in zip(average.parameters(), head.parameters(), strict=True):
        mean.lerp_(value, share)


class Prepared(NamedTuple):
    """A step's batch, and its generator as far as the draw has used it."""

    batch: Batch
    generator: torch.Generator


def prepared(data: TrainingSet, recipe: Recipe, step: int) -> Prepared:
    """All that step number `step` (from 0) needs; the same whenever and wherever it is drawn."""
    generator = step_generator(recipe.seed, step + 1)
    return Prepared(draw_batch(data, recipe, generator), generator)


def measured_shifts(data: TrainingSet, recipe: Recipe) -> Measured:
    """The shifts that suit these features, from the batches of the first steps."""
    return calibration.measure(first_pairs(data, recipe), recipe.seed)


def first_pairs(data: TrainingSet, recipe: Recipe) -> list[tuple[Tokens, Tokens, Tokens]]:
    """Pairs of self, knn and random images of the first batches.

    As many batches as hold `calibration.TOKENS` tokens: the memory is bounded for any batch.
    """

    def pairs(step: int) -> tuple[Tokens, Tokens, Tokens]:
        (anchor, positive, other), generator = prepared(data, recipe, step)
        partner = other[derangement(len(other), generator)]
        return Tokens(anchor, anchor), Tokens(anchor, positive), Tokens(anchor, partner)

    batches = math.ceil(calibration.TOKENS / (recipe.batch * recipe.grid**2))
    return [pairs(step) for step in range(min(batches, calibration.MOST_BATCHES))]


def train(
    state: TrainingState,
    data: TrainingSet,
    recipe: Recipe,
    batches: Iterable[Prepared] | None = None,
) -> Iterator[Curve]:
    """Run the remaining steps, yielding a row of the curve after each.

    The caller may save the state between two rows and continue from it later.

    Args:
        state: where training stands; changed in place.
        data: what it learns from.
        recipe: how it learns.
        batches: of the steps from `state.step` on, if the caller had them prepared ahead of
            time; by default each is drawn when its step comes.
    """
    steps = range(state.step, recipe.steps)
    for batch, generator in batches or (prepared(data, recipe, step) for step in steps):
        yield train_step(state, batch, recipe, generator)
