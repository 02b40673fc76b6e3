"""Self-distillation with no labels (DINO): the recipe, the networks and the losses.

Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021. A student
predicts from one view of an image what a teacher, the moving average of the student, predicts from
another.

Written by hand because lightly, the library for this, samples from global generators: here the
samples of a step depend on (seed, step) alone, so a run that was killed continues with the same
bytes. It would also bring PyTorch Lightning and Hydra.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from stego_core.backbone import timm_library
from stego_core.pretrain.views import ViewRecipe

STUDENT_TEMPERATURE = 0.1
"""τ of the student's softmax."""


class Schedule(NamedTuple):
    """First and last value of what changes while training runs."""

    first: float
    last: float


@dataclass(frozen=True)
class DinoRecipe:
    """How a backbone is trained.

    Attributes:
        steps, batch: optimiser steps, and images of each.
        seed: all samples of step t depend on (seed, t) alone, so a resumed run repeats them.
        learning_rate: of AdamW, at its peak.
        warmup: steps in which the learning rate rises to the peak, linearly.
        weight_decay: of matrices, cosine from first to last; vectors (biases, norms) have none.
        momentum: of the teacher; cosine from here to 1.
        temperature: of the teacher; linear from first to last.
        temperature_steps: steps until it is reached.
        prototypes, hidden, bottleneck: K outputs of the projection heads, and widths inside.
        dense_weight: share of the patches' term in the loss; 0 is DINO.
        dense_points: points per image in the patches' term.
        dense_reach: how far a point's partner in the other view lies from it, standard deviation
            as a share of the view's side; 0 is the same point.
        frozen_steps: steps in which the prototypes do not change.
        clip: greatest norm of the gradient.
        precision: torch dtype of the products, "float32" or "bfloat16".
    """

    steps: int
    batch: int
    views: ViewRecipe
    seed: int
    learning_rate: float
    warmup: int
    weight_decay: Schedule
    momentum: float
    temperature: Schedule
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
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
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
        self.vit: Any = vit  # timm is untyped
        channels = int(vit.num_features)  # type: ignore[arg-type]  # timm's, not nn.Module's
        config = timm_library.timm().data.resolve_model_data_config(vit)
        self.images, self.patches = (
            ProjectionHead(channels, recipe.hidden, recipe.bottleneck, recipe.prototypes)
            for _ in range(2)
        )
        for name in ("mean", "std"):
            constant = torch.tensor(config[name]).view(3, 1, 1)
            self.register_buffer(name, constant, persistent=False)

    def tokens(self, views: Tensor) -> Tensor:
        """Patch features (n, C, h, w) of views (n, 3, H, W) in [0, 1], after the last norm."""
        sequence: Tensor = self.vit.forward_features((views - self.mean) / self.std)
        patches = sequence[:, self.vit.num_prefix_tokens :]
        side = math.isqrt(patches.shape[1])
        return patches.transpose(1, 2).view(len(patches), -1, side, side)

    def of_images(self, tokens: Tensor) -> Tensor:
        """Prototype cosines (n, K) of images."""
        cosines: Tensor = self.images(tokens.mean(dim=(2, 3)))
        return cosines

    def of_patches(self, tokens: Tensor, points: Tensor) -> Tensor:
        """Prototype cosines (n, p, K) at points (n, p, 2) in [-1, 1] of each view."""
        cosines: Tensor = self.patches(features_at(tokens, points))
        return cosines


def features_at(maps: Tensor, points: Tensor) -> Tensor:
    """Features (n, p, C) of maps (n, C, h, w), interpolated at points (n, p, 2) in [-1, 1]."""
    features = functional.grid_sample(
        maps.float(), points[:, None], align_corners=False, padding_mode="border"
    )
    return features[:, :, 0].transpose(1, 2)


def targets(cosines: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """Softmax of the teacher's cosines, centred and sharpened: (..., K) probabilities."""
    return functional.softmax((cosines.float() - centre) / temperature, dim=-1)


def cross_entropy(target: Tensor, cosines: Tensor) -> Tensor:
    """−Σ target · log softmax(student / τ) over the last axis, nats."""
    predicted = functional.log_softmax(cosines.float() / STUDENT_TEMPERATURE, dim=-1)
    return -(target * predicted).sum(dim=-1)


def image_loss(target: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Mean cross-entropy over all pairs of a teacher's view and another view of the student's.

    Targets are probabilities (B, K) of the two global views, `student` cosines (B, K) of all views,
    the global ones first.
    """
    terms = [
        cross_entropy(expected, predicted).mean()
        for teacher_view, expected in enumerate(target)
        for student_view, predicted in enumerate(student)
        if student_view != teacher_view
    ]
    return torch.stack(terms).mean()


def patch_loss(target: Sequence[Tensor], student: Sequence[Tensor], overlap: Tensor) -> Tensor:
    """Mean cross-entropy between the same points of the two global views, each (B, p, K).

    `overlap` (B,) is 1 of images that count, else 0.
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
