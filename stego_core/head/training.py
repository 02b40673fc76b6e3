"""Training of the head: one step, and the loop that repeats it."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stego_core.head import shift_calibration
from stego_core.head.batches import HeadBatch, TrainingSet, draw_batch, step_generator
from stego_core.head.correspondence import batch_shifted_correspondences, batch_terms
from stego_core.head.head import Head
from stego_core.head.shift_calibration import Attracting, Measured, Tokens
from stego_core.head.shift_presets import Triple

PARTS = 4
"""Parts of a step's tokens that the head reads side by side on a CPU's cores."""


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
        attracting: how many pairs attract where the shifts are measured.
    """

    steps: int
    batch: int
    grid: int
    learning_rate: float
    seed: int
    weights: Triple
    averaging: float = 0.0
    attracting: Attracting = shift_calibration.PLAIN


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


class HeadCurve(NamedTuple):
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


def start(
    channels: int, code_size: int, dropout: float, recipe: Recipe, shifts: Triple, device: str
) -> TrainingState:
    """The state before the first step; its weights depend on the seed alone."""
    head = Head.create(channels, code_size, step_generator(recipe.seed, 0), dropout).to(device)
    optimiser = torch.optim.Adam(head.parameters(), lr=recipe.learning_rate)
    return TrainingState(head, optimiser, shifts, 0, copy.deepcopy(head))


Together = Callable[..., Iterable[Any]]
"""`map`, or that of a pool of threads."""


def train_step(
    state: TrainingState, step: "PreparedStep", recipe: Recipe, together: Together = map
) -> HeadCurve:
    """One step of Adam on the three terms.

    The head reads the tokens in parts, side by side if `together` can; their number and the order
    of their sums are fixed, so the outcome does not depend on it.
    """
    batch, attractions, generator = step
    head, device = state.head, batch.tokens.device
    kept = head.kept(2 * recipe.batch, generator)
    number = PARTS if device.type == "cpu" else 1

    def forward(tokens: Tensor, images: Tensor) -> Tensor:
        codes: Tensor = head(tokens, [keep[images] for keep in kept])
        return codes

    parts = list(together(forward, batch.tokens.chunk(number), batch.images.chunk(number)))
    codes = torch.cat(parts).detach().requires_grad_()
    losses, means = batch_terms(batch.compared(normalize(codes, dim=-1)), attractions)
    weights = recipe.weights
    loss = weights.self * losses.self + weights.knn * losses.knn + weights.rand * losses.rand
    (gradient,) = torch.autograd.grad(loss, codes)
    parameters = list(head.parameters())

    def backward(part: Tensor, of_codes: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(part, parameters, of_codes)

    found = together(backward, parts, gradient.chunk(number))
    for parameter, *gradients in zip(parameters, *found, strict=True):
        parameter.grad = torch.stack(gradients).sum(dim=0)
    state.optimiser.step()
    row = HeadCurve(
        state.step,
        loss.item(),
        *Triple(*(term.item() for term in losses)),
        *Triple(*(mean.item() for mean in means)),
    )
    state.step += 1
    update_ema(state.average, head, recipe.averaging, state.step)
    return row


@torch.no_grad()
def update_ema(average: Head, head: Head, decay: float, step: int) -> None:
    """Move the average towards the head after step number `step` (from 1).

    The average is Σ_t decay^(step − t) θ_t / Σ_t decay^(step − t) over t = 1 … step: no weight is
    left on where training began, however short it is (as Adam corrects its moments).
    """
    share = (1 - decay) / (1 - decay**step)
    for mean, value in zip(average.parameters(), head.parameters(), strict=True):
        mean.lerp_(value, share)


class PreparedStep(NamedTuple):
    """A step's batch, what its features ask of the codes, and its generator as far as it was used.

    Attributes:
        batch: its patches.
        attractions: F^SC − b of each kind of pair (`batch_attractions`).
        generator: draws the dropout.
    """

    batch: HeadBatch
    attractions: list[Tensor]
    generator: torch.Generator


def prepare_step(
    data: TrainingSet, recipe: Recipe, shifts: Triple, device: str | torch.device, step: int
) -> PreparedStep:
    """All that step number `step` (from 0) needs; the same whenever and wherever it is drawn.

    No weight of the head takes part, so it can be made while the steps before it run.
    """
    generator = step_generator(recipe.seed, step + 1)
    batch = draw_batch(data, recipe.batch, recipe.grid, generator).to(device)
    features = batch.compared(normalize(batch.tokens, dim=-1))
    return PreparedStep(batch, batch_shifted_correspondences(features, shifts), generator)


def measured_shifts(data: TrainingSet, recipe: Recipe) -> Measured:
    """The shifts that suit these features, from the batches of the first steps."""
    return shift_calibration.measure(first_pairs(data, recipe), recipe.seed, recipe.attracting)


def first_pairs(data: TrainingSet, recipe: Recipe) -> list[tuple[Tokens, Tokens, Tokens]]:
    """Pairs of self, knn and random images of the first batches.

    As many batches as hold `calibration.TOKENS` tokens: the memory is bounded for any batch.
    """

    def pairs(step: int) -> tuple[Tokens, Tokens, Tokens]:
        batch = draw_batch(data, recipe.batch, recipe.grid, step_generator(recipe.seed, step + 1))
        own, knn, random = batch.compared(batch.tokens).pairs()[:3]
        return Tokens(*own), Tokens(*knn), Tokens(*random)

    batches = math.ceil(shift_calibration.TOKENS / (recipe.batch * recipe.grid**2))
    return [pairs(step) for step in range(min(batches, shift_calibration.MOST_BATCHES))]


def train(
    state: TrainingState,
    data: TrainingSet,
    recipe: Recipe,
    steps: Iterable[PreparedStep] | None = None,
) -> Iterator[HeadCurve]:
    """Run the remaining steps, yielding a row of the curve after each.

    The caller may save the state between two rows and continue from it later.

    Args:
        state: where training stands; changed in place.
        data: what it learns from.
        recipe: how it learns.
        steps: `prepared` of the steps from `state.step` on, if the caller had them made ahead of
            time; by default each is made when its turn comes.
    """
    device = next(state.head.parameters()).device
    if steps is None:
        make = partial(prepare_step, data, recipe, state.shifts, device)
        steps = map(make, range(state.step, recipe.steps))
    with ThreadPoolExecutor(PARTS) as pool:
        for step in steps:
            yield train_step(state, step, recipe, pool.map)
