"""Self-distillation with no labels (DINO): networks, schedules, loss and the training step.

Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021. A student
learns to say about one view of an image what a teacher, its own moving average, says about another.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stego_core.views import Pixels, ViewRecipe, draw_views, render, shared_points

STUDENT_TEMPERATURE = 0.1
CENTRE_MOMENTUM = 0.9
LAST_LEARNING_RATE = 1e-6
"""Where the cosine of the learning rate ends."""


class Span(NamedTuple):
    """Where a schedule begins and where it ends."""

    first: float
    last: float


@dataclass(frozen=True)
class DinoRecipe:
    """How a backbone is trained.

    Attributes:
        steps: optimiser steps.
        batch: images per step.
        views: how images are cut and coloured.
        seed: every draw of step t comes from (seed, t) alone, so a resumed run draws the same.
        learning_rate: of AdamW, at its peak.
        warmup: steps in which the learning rate rises to it, linearly.
        weight_decay: of matrices, cosine from first to last; vectors (biases, norms) have none.
        momentum: of the teacher; cosine from here to 1.
        temperature: of the teacher; linear from first to last.
        temperature_steps: steps in which it does.
        prototypes: K, outputs of the projection heads.
        hidden, bottleneck: widths inside the projection heads.
        dense_weight: share of the patches' term in the loss; 0 is DINO.
        dense_points: places per image in the patches' term.
        dense_reach: how far a place's partner in the other view lies from it, standard deviation
            as a share of the view's side; 0 is the same place.
        frozen_steps: steps in which the prototypes stand still.
        clip: greatest norm of the gradient.
        precision: torch dtype of the products, "float32" or "bfloat16".
    """

    steps: int
    batch: int
    views: ViewRecipe
    seed: int
    learning_rate: float
    warmup: int
    weight_decay: Span
    momentum: float
    temperature: Span
    temperature_steps: int
    prototypes: int
    hidden: int
    bottleneck: int
    dense_weight: float
    dense_points: int
    dense_reach: float
    frozen_steps: int
    clip: float
    precision: str


class Rates(NamedTuple):
    """What the schedules say for one step."""

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
    return Rates(
        learning_rate=recipe.learning_rate * rising
        if step < recipe.warmup
        else cosine(Span(recipe.learning_rate, LAST_LEARNING_RATE), falling),
        weight_decay=cosine(recipe.weight_decay, done),
        momentum=cosine(Span(recipe.momentum, 1.0), done),
        temperature=recipe.temperature.first
        + warm * (recipe.temperature.last - recipe.temperature.first),
    )


def cosine(span: Span, done: float) -> float:
    """Half a cosine wave from the first value (done = 0) to the last (done = 1)."""
    return span.last + (span.first - span.last) * 0.5 * (1 + math.cos(math.pi * done))


class ProjectionHead(nn.Module):
    """Three layers, then cosines to K prototypes: DINO's head with its weights normalised."""

    def __init__(self, channels: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        """Weights come from torch's global generator."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02)
            else:
                nn.init.zeros_(parameter)
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, features: Tensor) -> Tensor:
        """Cosines (..., K) of features (..., C) with the prototypes."""
        return functional.linear(
            functional.normalize(self.layers(features), dim=-1),
            functional.normalize(self.prototypes, dim=-1),
        )


class DinoNetwork(nn.Module):
    """A vision transformer with one projection head for images and one for patches.

    An image is the mean of its patches, not the class token: patches are what the pipeline reads.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vit: nn.Module, recipe: DinoRecipe) -> None:
        """Wrap a timm vision transformer; the heads' weights come from torch's global generator."""
        super().__init__()
        from timm.data import resolve_model_data_config

        channels = int(vit.num_features)  # type: ignore[arg-type]
        config = resolve_model_data_config(vit)
        self.vit = vit
        self.images, self.patches = (
            ProjectionHead(channels, recipe.hidden, recipe.bottleneck, recipe.prototypes)
            for _ in range(2)
        )
        for name in ("mean", "std"):
            constant = torch.tensor(config[name]).view(3, 1, 1)
            self.register_buffer(name, constant, persistent=False)

    def tokens(self, views: Tensor) -> Tensor:
        """Patch features (n, C, h, w) of views (n, 3, H, W) in [0, 1], after the last norm."""
        sequence = self.vit.forward_features((views - self.mean) / self.std)  # type: ignore[operator]
        patches = sequence[:, self.vit.num_prefix_tokens :]
        side = math.isqrt(patches.shape[1])
        return patches.transpose(1, 2).unflatten(2, (side, side))  # type: ignore[no-any-return]

    def of_images(self, tokens: Tensor) -> Tensor:
        """Prototype cosines (n, K) of images."""
        return self.images(tokens.mean(dim=(2, 3)))  # type: ignore[no-any-return]

    def of_patches(self, tokens: Tensor, points: Tensor) -> Tensor:
        """Prototype cosines (n, p, K) at points (n, p, 2) in [-1, 1] of each view."""
        at = functional.grid_sample(
            tokens.float(), points[:, None], align_corners=False, padding_mode="border"
        )
        return self.patches(at[:, :, 0].transpose(1, 2))  # type: ignore[no-any-return]


class Batch(NamedTuple):
    """The views of one step's images.

    Attributes:
        globals: two tensors (B, 3, H, W) float32 in [0, 1].
        locals: one (B, 3, h, w) for each local view.
        points: (2, B, p, 2) the same places in both global views.
        overlap: (B,) float32, 1 where the two global views share anything, else 0.
    """

    globals: list[Tensor]
    locals: list[Tensor]
    points: Tensor
    overlap: Tensor


def draw_batch(
    images: Sequence[Pixels], recipe: DinoRecipe, generator: np.random.Generator
) -> Batch:
    """Cut and colour the views of some images (H, W, 3) uint8."""
    views = [draw_views(image.shape, recipe.views, generator) for image in images]
    sizes = [recipe.views.global_size] * 2 + [recipe.views.local_size] * recipe.views.local_views
    rendered = [
        render(images, [own[number] for own in views], size) for number, size in enumerate(sizes)
    ]
    shared = [
        shared_points(own[0], own[1], recipe.dense_points, generator, recipe.dense_reach)
        for own in views
    ]
    return Batch(
        rendered[:2],
        rendered[2:],
        torch.from_numpy(np.stack(shared, axis=1)),
        torch.tensor([float(own[0].box.meets(own[1].box)) for own in views]),
    )


class Curve(NamedTuple):
    """One row of the training curve.

    Attributes:
        step: number of the step, from 0.
        loss, loss_images, loss_patches: cross-entropies, nats; the first is what was minimised.
        entropy: of a teacher's single target, nats, in [0, log K].
        information: what a teacher's target tells about which image or patch it is of, nats:
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


def targets(cosines: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """What the teacher says: centred and sharpened, (..., K) probabilities."""
    return functional.softmax((cosines.float() - centre) / temperature, dim=-1)


def cross_entropy(target: Tensor, cosines: Tensor) -> Tensor:
    """−Σ target · log softmax(student / τ) over the last axis, nats."""
    predicted = functional.log_softmax(cosines.float() / STUDENT_TEMPERATURE, dim=-1)
    return -(target * predicted).sum(dim=-1)


def image_loss(target: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Mean cross-entropy over all pairs of a teacher's view and another view of the student's.

    Args:
        target: of the two global views, each (B, K) probabilities.
        student: of all views, the global ones first, each (B, K) cosines.
    """
    terms = [
        cross_entropy(said, heard).mean()
        for number, said in enumerate(target)
        for other, heard in enumerate(student)
        if other != number
    ]
    return torch.stack(terms).mean()


def patch_loss(target: Sequence[Tensor], student: Sequence[Tensor], overlap: Tensor) -> Tensor:
    """Mean cross-entropy between the same places in the two global views.

    Args:
        target, student: of each global view, (B, p, K).
        overlap: (B,) images count where this is 1.
    """
    first = cross_entropy(target[0], student[1]).mean(dim=1)
    second = cross_entropy(target[1], student[0]).mean(dim=1)
    return ((first + second) / 2 * overlap).sum() / overlap.sum().clamp_min(1)


def information(target: Tensor) -> tuple[float, float]:
    """Mean entropy of targets (n, K), and entropy of their mean minus that, nats; 0 of none."""
    if not len(target):
        return 0.0, 0.0
    single = torch.special.entr(target).sum(dim=-1).mean()
    whole = torch.special.entr(target.mean(dim=0)).sum()
    return float(single), float(whole - single)


def train_step(state: DinoState, batch: Batch, recipe: DinoRecipe) -> Curve:
    """One step: the student moves by gradient, the teacher and its centres by averages."""
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
        heard = list(state.student.of_images(tokens).chunk(2))
        if batch.locals:
            small = state.student.tokens(torch.cat(batch.locals).to(device))
            heard += state.student.of_images(small).chunk(len(batch.locals))
        dense = state.student.of_patches(tokens, points).chunk(2)
    of_images = image_loss(image_target.chunk(2), heard)
    of_patches = patch_loss(patch_target.chunk(2), dense, overlap)
    loss = (1 - recipe.dense_weight) * of_images + recipe.dense_weight * of_patches
    gradient = _descend(state, loss, recipe, now)
    met = overlap.repeat(2) > 0
    _follow(state, now.momentum, images, patches[met])
    entropy, told = information(
        image_target if recipe.dense_weight < 1 else patch_target[met].flatten(0, 1)
    )
    row = Curve(
        state.step,
        loss.item(),
        of_images.item(),
        of_patches.item(),
        entropy,
        told,
        gradient,
        now.learning_rate,
    )
    state.step += 1
    return row


def _descend(state: DinoState, loss: Tensor, recipe: DinoRecipe, now: Rates) -> float:
    """One step of AdamW on the student; returns the norm of the gradient."""
    matrices, vectors = state.optimiser.param_groups
    matrices["lr"] = vectors["lr"] = now.learning_rate
    matrices["weight_decay"] = now.weight_decay
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if state.step < recipe.frozen_steps:
        for head in (state.student.images, state.student.patches):
            head.prototypes.grad = None
    gradient = nn.utils.clip_grad_norm_(state.student.parameters(), recipe.clip)
    state.optimiser.step()
    return float(gradient)


@torch.no_grad()
def _follow(state: DinoState, momentum: float, images: Tensor, patches: Tensor) -> None:
    """The teacher moves towards the student, the centres towards the mean of its outputs."""
    pairs = zip(state.teacher.parameters(), state.student.parameters(), strict=True)
    for slow, fast in pairs:
        slow.lerp_(fast, 1 - momentum)
    state.image_centre.lerp_(images.float().mean(dim=0), 1 - CENTRE_MOMENTUM)
    if len(patches):
        state.patch_centre.lerp_(patches.float().mean(dim=(0, 1)), 1 - CENTRE_MOMENTUM)


class ImageReader(Protocol):
    """Gives images by row, from memory or from storage."""

    def __call__(self, rows: NDArray[np.int64]) -> list[Pixels]:
        """(H, W, 3) uint8 RGB each, in the order asked for."""
        ...


def prepared(read: ImageReader, count: int, recipe: DinoRecipe, step: int) -> Batch:
    """The batch of step `step` (from 0) from `count` images; the same whenever it is drawn."""
    generator = np.random.default_rng(np.random.SeedSequence([recipe.seed, step]))
    rows = generator.integers(count, size=recipe.batch)
    return draw_batch(read(rows), recipe, generator)


def train(state: DinoState, recipe: DinoRecipe, batches: Iterable[Batch]) -> Iterator[Curve]:
    """Run the steps of these batches, the first of which is that of `state.step`.

    The caller may save the state between two rows and continue from it later.
    """
    for batch in batches:
        yield train_step(state, batch, recipe)
