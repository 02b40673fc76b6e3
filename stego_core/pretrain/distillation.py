"""Training by self-distillation: schedules, the views of a step, the step, the loop.

Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021.
"""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.pretrain.dino import (
    DinoNetwork,
    DinoRecipe,
    Schedule,
    image_loss,
    information,
    patch_loss,
    targets,
)
from stego_core.pretrain.views import Pixels, render, sample_augmentations, shared_points

CENTRE_MOMENTUM = 0.9
"""Decay of the centres' moving averages."""
LAST_LEARNING_RATE = 1e-6
"""Where the cosine of the learning rate ends."""


ImageReader = Callable[[NDArray[np.int64]], list[Pixels]]
"""Reads the images (H, W, 3) uint8 of some rows, in this order, from memory or from storage."""
Partners = Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.int64]]
"""Samples for each of some rows a row whose image shows the same scene, pixel by pixel."""


class Rates(NamedTuple):
    """The schedules' values at one step."""

    learning_rate: float
    weight_decay: float
    momentum: float
    temperature: float


def rates(recipe: DinoRecipe, step: int) -> Rates:
    """The schedules of DINO at a step (from 0)."""
    done = step / recipe.steps
    rising = (step + 1) / max(recipe.warmup, 1)
    falling = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    warm = min(step / max(recipe.temperature_steps, 1), 1.0)
    peak, (cold, hot) = recipe.learning_rate, recipe.temperature
    return Rates(
        peak * rising
        if step < recipe.warmup
        else cosine(Schedule(peak, LAST_LEARNING_RATE), falling),
        weight_decay=cosine(recipe.weight_decay, done),
        momentum=cosine(Schedule(recipe.momentum, 1.0), done),
        temperature=cold + warm * (hot - cold),
    )


def cosine(schedule: Schedule, done: float) -> float:
    """Half a cosine wave from the first value (done = 0) to the last (done = 1)."""
    first, last = schedule
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))


class ViewBatch(NamedTuple):
    """The views of one step's images.

    Attributes:
        globals: two tensors (B, 3, H, W) float32 in [0, 1].
        locals: one (B, 3, h, w) for each local view.
        points: (2, B, p, 2) the same points in both global views.
        overlap: (B,) float32, 1 where the two global views overlap, else 0.
    """

    globals: list[Tensor]
    locals: list[Tensor]
    points: Tensor
    overlap: Tensor


def sample_views(
    images: Sequence[Pixels],
    recipe: DinoRecipe,
    generator: np.random.Generator,
    partners: Sequence[Pixels] | None = None,
) -> ViewBatch:
    """Cut and colour the views of some images (H, W, 3) uint8.

    Every second view, from the second global one on, is cut from the image's partner, which has
    its shape; by default that is the image itself.
    """
    views = [sample_augmentations(image.shape, recipe.views, generator) for image in images]
    sizes = [recipe.views.global_size] * 2 + [recipe.views.local_size] * recipe.views.local_views
    by_number = zip(zip(*views, strict=True), sizes, strict=True)
    sources = itertools.cycle([images, images if partners is None else partners])
    rendered = [
        render(source, same, size) for source, (same, size) in zip(sources, by_number, strict=False)
    ]
    points = [
        shared_points(first, second, recipe.dense_points, generator, recipe.dense_reach)
        for first, second, *_ in views
    ]
    overlap = [float(first.box.meets(second.box)) for first, second, *_ in views]
    shared = torch.from_numpy(np.stack(points, axis=1))
    return ViewBatch(rendered[:2], rendered[2:], shared, torch.tensor(overlap))


class DinoCurve(NamedTuple):
    """One row of the training curve.

    Attributes:
        step: number of the step, from 0.
        loss, loss_images, loss_patches: cross-entropies, nats; the first is minimised.
        entropy: of a teacher's single target, nats, in [0, log K].
        information: mutual information of a teacher's target and its image or patch, nats:
            entropy of the mean target minus mean entropy. Every collapse brings it to 0.
        gradient: norm of the gradient before clipping.
        learning_rate: of this step.
    """

    step: int
    loss: float
    loss_images: float
    loss_patches: float
    entropy: float
    information: float
    gradient: float
    learning_rate: float


@dataclass
class DinoState:
    """All that a step changes; saving it and loading it continues the run."""

    student: DinoNetwork
    teacher: DinoNetwork
    optimiser: torch.optim.AdamW
    image_centre: Tensor
    patch_centre: Tensor
    step: int


def start(vit: nn.Module, recipe: DinoRecipe, device: str) -> DinoState:
    """The state before the first step: the teacher equals the student, whose ViT is `vit`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        student = DinoNetwork(vit, recipe).to(device).train()
    matrices = {"params": [p for p in student.parameters() if p.ndim > 1]}
    vectors = {"params": [p for p in student.parameters() if p.ndim <= 1]}
    optimiser = torch.optim.AdamW([matrices, vectors], lr=0.0, weight_decay=0.0)
    teacher = copy.deepcopy(student).requires_grad_(False)
    centre = torch.zeros(recipe.prototypes, device=device)
    return DinoState(student, teacher, optimiser, centre, centre.clone(), step=0)


def train_step(state: DinoState, batch: ViewBatch, recipe: DinoRecipe) -> DinoCurve:
    """One step: the student descends the gradient, teacher and centres move as averages (EMA).

    The caller may save the state between two steps and continue from it later.
    """
    now = rates(recipe, state.step)
    device = state.image_centre.device
    views = torch.cat(batch.globals).to(device)
    points, overlap = batch.points.flatten(0, 1).to(device), batch.overlap.to(device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    with half, torch.no_grad():
        tokens = state.teacher.tokens(views)
        images, patches = state.teacher.of_images(tokens), state.teacher.of_patches(tokens, points)
        image_target = targets(images, state.image_centre, now.temperature)
        patch_target = targets(patches, state.patch_centre, now.temperature)
    with half:
        tokens = state.student.tokens(views)
        predicted = list(state.student.of_images(tokens).chunk(2))
        if batch.locals:
            small = state.student.tokens(torch.cat(batch.locals).to(device))
            predicted += state.student.of_images(small).chunk(len(batch.locals))
        dense = state.student.of_patches(tokens, points).chunk(2)
    of_images = image_loss(image_target.chunk(2), predicted)
    of_patches = patch_loss(patch_target.chunk(2), dense, overlap)
    loss = (1 - recipe.dense_weight) * of_images + recipe.dense_weight * of_patches
    gradient = _descend(state, loss, recipe, now)
    overlapping = overlap.repeat(2) > 0
    _update_ema(state, now.momentum, images, patches[overlapping])
    target = image_target if recipe.dense_weight < 1 else patch_target[overlapping].flatten(0, 1)
    losses = loss.item(), of_images.item(), of_patches.item()
    row = DinoCurve(state.step, *losses, *information(target), gradient, now.learning_rate)
    state.step += 1
    return row


def _descend(state: DinoState, loss: Tensor, recipe: DinoRecipe, now: Rates) -> float:
    """One step of AdamW on the student; returns the norm of the gradient."""
    matrices, vectors = state.optimiser.param_groups
    matrices["lr"] = vectors["lr"] = now.learning_rate
    matrices["weight_decay"] = now.weight_decay
    state.optimiser.zero_grad()
    torch.autograd.backward(loss)
    if state.step < recipe.frozen_steps:
        for head in (state.student.images, state.student.patches):
            head.prototypes.grad = None
    gradient = nn.utils.clip_grad_norm_(state.student.parameters(), recipe.clip)
    state.optimiser.step()
    return float(gradient)


@torch.no_grad()
def _update_ema(state: DinoState, momentum: float, images: Tensor, patches: Tensor) -> None:
    """The teacher moves towards the student, the centres towards the mean of its outputs."""
    pairs = zip(state.teacher.parameters(), state.student.parameters(), strict=True)
    for average, value in pairs:
        average.lerp_(value, 1 - momentum)
    state.image_centre.lerp_(images.float().mean(dim=0), 1 - CENTRE_MOMENTUM)
    if len(patches):
        state.patch_centre.lerp_(patches.float().mean(dim=(0, 1)), 1 - CENTRE_MOMENTUM)


def prepare_batch(
    read: ImageReader, count: int, recipe: DinoRecipe, partners: Partners | None, step: int
) -> ViewBatch:
    """The batch of step `step` (from 0) of `count` images; it depends on the arguments alone.

    With `partners` the images are registered: every second view shows an image's partner.
    """
    generator = np.random.default_rng(np.random.SeedSequence([recipe.seed, step]))
    rows = generator.integers(count, size=recipe.batch)
    others = None if partners is None else read(partners(rows, generator))
    return sample_views(read(rows), recipe, generator, others)
