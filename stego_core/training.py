"""Training of the head: one step, and the loop that repeats it."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from stego_core import calibration
from stego_core.calibration import Measured, Tokens
from stego_core.correspondence import Compared, batch_attractions, batch_terms, derangement
from stego_core.head import Head, channels_kept
from stego_core.shifts import Triple

RANDOM_DRAWS = 5
"""Random partners per anchor and step, as in STEGO."""
POSITIVE_RANKS = 7
"""A positive is drawn from ranks 1 to this; rank 0 is the image itself."""
PARTS = 4
"""Parts of a step's tokens that the head reads side by side on a CPU's cores."""


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
        attracting: pairs that attract, for each one of one kind, where shifts are measured.
        averaging: decay, in [0, 1), of the moving average of the head's weights; 0 keeps the last.
    """

    steps: int
    batch: int
    grid: int
    learning_rate: float
    seed: int
    weights: Triple
    attracting: Triple = calibration.ATTRACTING
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
    """The patches of one step; each distinct one is here once, however often it was drawn.

    A crop of 14×14 patches has about 90 distinct ones among 121 draws, and a head that sees those
    alone has a third less to do.

    Attributes:
        tokens: (t, C) float32 features.
        images: (t,) int64 which of the step's 2B images a token is of: anchors, then positives.
        places: (3, B, n) int64 of each drawn token among `tokens`: anchor, positive, other.
        partners: (draws, B) int64 derangements: random partners of the anchors.
    """

    tokens: Tensor
    images: Tensor
    places: Tensor
    partners: Tensor

    def compared(self, values: Tensor) -> Compared:
        """What is known of the tokens, (t, D), as a step compares it."""
        drawn = values.index_select(0, self.places.flatten())
        anchor, positive, other = drawn.reshape(*self.places.shape, -1)
        return Compared(anchor, positive, other, self.partners)

    def to(self, device: str | torch.device) -> "Batch":
        """The same batch there."""
        return Batch(*(part.to(device) for part in self))


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
    """Draw anchors and positives, grid² tokens of each, and the anchors' random partners.

    Tokens are drawn before the head runs, so that it sees those alone: less work than codes for
    whole images (benchmarks/head.py). A position is uniform over the patches, the
    nearest-patch reading of STEGO's uniform coordinates. Set 1 serves the anchor, set 2 the
    positive and, on the anchors themselves, the random partners. Where patches have weights,
    positions follow them, and the random partners have a set of their own.
    """
    anchors = torch.randint(len(data.rows), (recipe.batch,), generator=generator).numpy()
    ranks = torch.randint(data.positives.shape[1], (recipe.batch,), generator=generator).numpy()
    images = data.images(data.rows[anchors])
    neighbours = data.images(data.positives[anchors, ranks])
    count = recipe.grid**2
    first, second = (positions(each, count, generator) for each in (images, neighbours))
    third = second if images.weights is None else positions(images, count, generator)
    size = images.patches[0, ..., 0].size
    all_own = recipe.batch * size
    own = torch.arange(0, all_own, size)[:, None]
    drawn = torch.stack([own + first, all_own + own + second, own + third])
    distinct, places = torch.unique(drawn, return_inverse=True)
    ours = distinct < all_own
    tokens = np.concatenate(
        [
            taken(images.patches, distinct[ours]),
            taken(neighbours.patches, distinct[~ours] - all_own),
        ]
    )
    draws = [derangement(recipe.batch, generator) for _ in range(RANDOM_DRAWS)]
    return Batch(torch.from_numpy(tokens), distinct // size, places, torch.stack(draws))


def taken(patches: NDArray[np.float16], places: Tensor) -> NDArray[np.float32]:
    """Patches (n, C) float32 of images (B, h, w, C) at places (n,) of all B · h · w of them."""
    flat = patches.reshape(-1, patches.shape[-1])
    return np.asarray(flat[places.numpy()], np.float32)


def positions(images: Images, count: int, generator: torch.Generator) -> Tensor:
    """Flat positions (n, count) int64 of patches of n images, drawn with replacement."""
    number, height, width, _ = images.patches.shape
    if images.weights is None:
        return torch.randint(height * width, (number, count), generator=generator)
    weights = torch.from_numpy(images.weights.reshape(number, height * width))
    return torch.multinomial(weights, count, replacement=True, generator=generator)


Together = Callable[..., Iterable[Any]]
"""`map`, or that of a pool of threads."""


def train_step(
    state: TrainingState, prepared: "Prepared", recipe: Recipe, together: Together = map
) -> Curve:
    """One step of Adam on the three terms.

    The head reads the tokens in parts, side by side if `together` can; their number and the order
    of their sums are fixed, so the outcome does not depend on it.
    """
    batch, attractions, generator = prepared
    head, device = state.head, batch.tokens.device
    channels = batch.tokens.shape[1]
    kept = [
        channels_kept(2 * recipe.batch, channels, head.dropout, generator).to(device)
        for _ in range(2)
    ]
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
    row = Curve(
        state.step,
        loss.item(),
        *Triple(*(term.item() for term in losses)),
        *Triple(*(mean.item() for mean in means)),
    )
    state.step += 1
    follow(state.average, head, recipe.averaging, state.step)
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
    """A step's batch, what its features ask of the codes, and its generator as far as it was used.

    Attributes:
        batch: its patches.
        attractions: F^SC − b of each kind of pair (`batch_attractions`).
        generator: draws the dropout.
    """

    batch: Batch
    attractions: list[Tensor]
    generator: torch.Generator


def prepared(data: TrainingSet, recipe: Recipe, shifts: Triple, device: str, step: int) -> Prepared:
    """All that step number `step` (from 0) needs; the same whenever and wherever it is drawn.

    No weight of the head takes part, so it can be made while the steps before it run.
    """
    generator = step_generator(recipe.seed, step + 1)
    batch = draw_batch(data, recipe, generator).to(device)
    features = batch.compared(normalize(batch.tokens, dim=-1))
    return Prepared(batch, batch_attractions(features, shifts), generator)


def measured_shifts(data: TrainingSet, recipe: Recipe) -> Measured:
    """The shifts that suit these features, from the batches of the first steps."""
    return calibration.measure(first_pairs(data, recipe), recipe.seed, recipe.attracting)


def first_pairs(data: TrainingSet, recipe: Recipe) -> list[tuple[Tokens, Tokens, Tokens]]:
    """Pairs of self, knn and random images of the first batches.

    As many batches as hold `calibration.TOKENS` tokens: the memory is bounded for any batch.
    """

    def pairs(step: int) -> tuple[Tokens, Tokens, Tokens]:
        batch = draw_batch(data, recipe, step_generator(recipe.seed, step + 1))
        own, knn, random = batch.compared(batch.tokens).pairs()[:3]
        return Tokens(*own), Tokens(*knn), Tokens(*random)

    batches = math.ceil(calibration.TOKENS / (recipe.batch * recipe.grid**2))
    return [pairs(step) for step in range(min(batches, calibration.MOST_BATCHES))]


def train(
    state: TrainingState,
    data: TrainingSet,
    recipe: Recipe,
    steps: Iterable[Prepared] | None = None,
) -> Iterator[Curve]:
    """Run the remaining steps, yielding a row of the curve after each.

    The caller may save the state between two rows and continue from it later.

    Args:
        state: where training stands; changed in place.
        data: what it learns from.
        recipe: how it learns.
        steps: `prepared` of the steps from `state.step` on, if the caller had them made ahead of
            time; by default each is made when its turn comes.
    """
    device = next(state.head.parameters()).device.type
    if steps is None:
        make = partial(prepared, data, recipe, state.shifts, device)
        steps = map(make, range(state.step, recipe.steps))
    with ThreadPoolExecutor(PARTS) as pool:
        for step in steps:
            yield train_step(state, step, recipe, pool.map)
