"""Self-distillation with no labels (DINO): the recipe, the networks and the losses.

Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021. A student
learns to say about one view of an image what a teacher, its own moving average, says about another.

Written by hand because lightly, the library for this, draws from global generators: here the draws
of a step come from (seed, step) alone, so that a run that was killed goes on with the same bytes.
It would also bring PyTorch Lightning and Hydra.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from stego_core.pretrain.views import ViewRecipe

STUDENT_TEMPERATURE = 0.1


class Schedule(NamedTuple):
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

        self.vit: Any = vit  # timm is untyped
        channels = int(vit.num_features)  # type: ignore[arg-type]  # timm's, not nn.Module's
        config = resolve_model_data_config(vit)
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
        at = functional.grid_sample(
            tokens.float(), points[:, None], align_corners=False, padding_mode="border"
        )
        cosines: Tensor = self.patches(at[:, :, 0].transpose(1, 2))
        return cosines


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
