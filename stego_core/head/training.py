"""Training of the head: one step, and the loop that repeats it."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from stego_core.head import shift_calibration
from stego_core.head.batches import (
    HeadBatch,
    TrainingSet,
    draw_batch,
    step_generator,
)
from stego_core.head.correspondence import batch_shifted_correspondences, batch_terms
from stego_core.head.head import Head
from stego_core.head.shift_calibration import Attracting, Measured, Tokens
from stego_core.head.shift_presets import RANDOM_DRAWS, Triple

PARTS = 4
"""Parts of a step's tokens that the head reads in parallel on a CPU's cores."""


@dataclass(frozen=True)
class Recipe:
    """How the head is trained.

    Attributes:
        steps: optimiser steps.
        batch: images per step.
        grid: side of the sampled grid: a step samples grid² tokens of each image.
        learning_rate: of Adam.
        seed: all samples of step t depend on (seed, t) alone, so a resumed run repeats them.
        weights: λ of the self, knn and random term.
        averaging: decay, in [0, 1), of the exponential moving average (EMA) of the head's weights;
            0 keeps the last.
        attracting: how many pairs attract where the shifts are measured.
        negatives: random partners of each anchor in a step.
        centring: whether feature correspondences are centred for each token.
        precision: torch dtype of the products with features, "float32" or "bfloat16"; sums, codes,
            weights and the optimiser stay float32.
    """

    steps: int
    batch: int
    grid: int
    learning_rate: float
    seed: int
    weights: Triple
    averaging: float = 0.0
    attracting: Attracting = shift_calibration.PLAIN
    negatives: int = RANDOM_DRAWS
    centring: bool = True
    precision: str = "float32"

    @property
    def dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        dtype: torch.dtype = getattr(torch, self.precision)
        return dtype


@dataclass
class TrainingState:
    """The state of training: a run that saves and loads it continues exactly.

    Attributes:
        shifts: b of the self, knn and random term; a step changes all but these.
        average: the head that training returns, with the EMA of the weights.
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


PreparedStep = tuple[HeadBatch, list[Tensor], torch.Generator]
"""A batch, its features' `batch_shifted_correspondences`, and the generator that sampled it and
will sample the dropout."""
ParallelMap = Callable[..., Iterable[Any]]
"""`map`, or that of a pool of threads."""


def parallel_head(
    head: Head, batch: HeadBatch, kept: Sequence[Tensor], parallel: ParallelMap
) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Codes (t, D), float32 or more, of a batch's tokens; the backward pass from their gradient.

    The head reads the tokens in parts, with weights in the tokens' dtype. The backward pass sums
    the parts' gradients in a fixed order, which `loss.backward()` from several threads would not,
    so the outcome does not depend on `parallel`.
    """
    count = PARTS if batch.tokens.device.type == "cpu" else 1
    rounded = rounded_head(head, batch.tokens.dtype)
    parameters = list(rounded.parameters())

    def forward(tokens: Tensor, images: Tensor) -> Tensor:
        codes: Tensor = rounded(tokens, [keep[images] for keep in kept])
        return codes

    parts = list(parallel(forward, batch.tokens.chunk(count), batch.images.chunk(count)))

    def of_part(part: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(part, parameters, gradient.to(part.dtype))

    def backward(gradient: Tensor) -> None:
        by_part = parallel(of_part, parts, gradient.chunk(count))
        for parameter, *gradients in zip(head.parameters(), *by_part, strict=True):
            parameter.grad = torch.stack(gradients).sum(dim=0, dtype=parameter.dtype)

    codes = torch.cat(parts).detach()
    return codes.to(head.hidden.weight.dtype).requires_grad_(), backward


def rounded_head(head: Head, dtype: torch.dtype) -> Head:
    """The head with its weights rounded to a dtype: itself where that is theirs."""
    if head.hidden.weight.dtype == dtype:
        return head
    rounded = copy.deepcopy(head)
    for module in rounded.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(value.detach().to(dtype)))
    return rounded


def train_step(
    state: TrainingState, step: PreparedStep, recipe: Recipe, parallel: ParallelMap = map
) -> HeadCurve:
    """One step of Adam on the three terms."""
    batch, shifted, generator = step
    kept = [k.to(recipe.dtype) for k in state.head.kept(2 * recipe.batch, generator)]
    codes, backward = parallel_head(state.head, batch, kept, parallel)
    losses, means = batch_terms(batch.compared(normalize(codes, dim=-1)), shifted)
    own, knn, rand = (weight * term for weight, term in zip(recipe.weights, losses, strict=True))
    loss = own + knn + rand
    backward(*torch.autograd.grad(loss, codes))
    state.optimiser.step()
    row = HeadCurve(state.step, *(value.item() for value in (loss, *losses, *means)))
    state.step += 1
    update_ema(state.average, state.head, recipe.averaging, state.step)
    return row


@torch.no_grad()
def update_ema(average: Head, head: Head, decay: float, step: int) -> None:
    """Move the average towards the head after step number `step` (from 1).

    The average is Σ_t decay^(step − t) θ_t / Σ_t decay^(step − t) over t = 1 … step: the initial
    weights have no influence, however short training is (as Adam corrects its moments).
    """
    share = (1 - decay) / (1 - decay**step)
    for mean, value in zip(average.parameters(), head.parameters(), strict=True):
        mean.lerp_(value, share)


def prepare_step(
    data: TrainingSet, recipe: Recipe, shifts: Triple, device: str | torch.device, step: int
) -> PreparedStep:
    """The inputs of step number `step` (from 0); they depend on the arguments alone.

    No weight of the head is used, so a step can be prepared while the steps before it run.
    """
    generator = step_generator(recipe.seed, step + 1)
    batch = draw_batch(data, recipe.batch, recipe.grid, generator, recipe.negatives).to(device)
    features = batch.compared(normalize(batch.tokens, dim=-1).to(recipe.dtype))
    shifted = batch_shifted_correspondences(features, shifts, recipe.centring)
    return batch._replace(tokens=batch.tokens.to(recipe.dtype)), shifted, generator


def measured_shifts(data: TrainingSet, recipe: Recipe) -> Measured:
    """The shifts of these features, measured on the batches of the first steps.

    As many batches as hold `shift_calibration.TOKENS` tokens: the memory is bounded for any batch.
    """

    def pairs(step: int) -> tuple[Tokens, Tokens, Tokens]:
        batch = draw_batch(data, recipe.batch, recipe.grid, step_generator(recipe.seed, step + 1))
        own, knn, random = batch.compared(batch.tokens).pairs()[:3]
        return Tokens(*own), Tokens(*knn), Tokens(*random)

    count = math.ceil(shift_calibration.TOKENS / (recipe.batch * recipe.grid**2))
    batches = [pairs(step) for step in range(min(count, shift_calibration.MOST_BATCHES))]
    return shift_calibration.measure(batches, recipe.seed, recipe.attracting, recipe.centring)


def train(
    state: TrainingState,
    recipe: Recipe,
    steps: Iterable[PreparedStep],
) -> Iterator[HeadCurve]:
    """Run prepared steps, the first of which is that of `state.step`; a row of the curve of each.

    The caller may save the state between two rows and continue from it later.
    """
    with ThreadPoolExecutor(PARTS) as pool:
        for step in steps:
            yield train_step(state, step, recipe, pool.map)
