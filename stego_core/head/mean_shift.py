"""Mean shift of an image's patches, and how many of them each one stands for."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

RECIPE = "mean-shift"
"""Its name among the recipes of the head."""
SHARPNESS = 20.0
"""Concentration κ of the kernel: a patch at cosine 0.85 weighs a twentieth of one at 1."""
ITERATIONS = 3
DENSITY_SHARPNESS = 10.0
"""κ of the kernel that counts a thing's patches, wider than the one that draws them together."""
TRAINING, CLUSTERING = 0.5, 1.0
"""Powers of `sampling_weights`: a thing of n patches takes part in training as often as √n, in
clustering as often as any other (docs/notes/mean-shift.md)."""


def mean_shift(
    features: Tensor, sharpness: float = SHARPNESS, iterations: int = ITERATIONS
) -> Tensor:
    """Features of one thing in an image drawn together: less texture, the same borders.

    x_i ← unit( Σ_j exp(κ x_i · f_j) f_j ), from x = f, over the patches f_j of the same image:
    mean shift (Comaniciu & Meer 2002) on the sphere, with the von Mises-Fisher kernel.

    Args:
        features: (B, ..., C) of any norm; the axes between count an image's patches.
        sharpness: κ.
        iterations: of the update.

    Returns:
        the same shape, norm 1; patches of zeros, which hold no data, stay zero and draw nobody.
    """
    shape = features.shape
    images = normalize(features.reshape(shape[0], -1, shape[-1]), dim=-1)
    moved = torch.stack([_drawn_together(image, sharpness, iterations) for image in images])
    there = (images != 0).any(dim=-1)
    if not there.all():
        moved = moved * there[..., None]
    return moved.reshape(shape)


def _drawn_together(patches: Tensor, sharpness: float, iterations: int) -> Tensor:
    """One image's (n, C) patches; an n×n matrix of weights is held for one image at a time."""
    moved = patches
    for _ in range(iterations):
        weights = torch.softmax(sharpness * (moved @ patches.T), dim=-1)
        moved = normalize(weights @ patches, dim=-1)
    return moved


def sampling_weights(shifted: Tensor, power: float) -> Tensor:
    """Relative chances of patches to be drawn, so that large things do not crowd out small ones.

    w_i = n_i^−p, n_i = Σ_j exp(κ (x_i · x_j − 1)): the kernel density at a patch, which counts the
    patches of its image that are like it. The n patches of a thing weigh n^(1 − p) together.

    Args:
        shifted: (B, ..., C) as `mean_shift` returns them.
        power: p; 0 makes all patches alike, 1 all things.

    Returns:
        (B, ...) in (0, 1]; 0 of patches of zeros, which hold no data.
    """
    images = shifted.reshape(shifted.shape[0], -1, shifted.shape[-1])
    counts = torch.stack(
        [(DENSITY_SHARPNESS * (image @ image.T - 1)).exp().sum(dim=-1) for image in images]
    )
    there = (images != 0).any(dim=-1)
    if there.all():
        return (counts.clamp(min=1) ** -power).reshape(shifted.shape[:-1])
    strangers = (~there).sum(dim=-1, keepdim=True) * math.exp(-DENSITY_SHARPNESS)
    weights = (counts - strangers).clamp(min=1) ** -power * there
    return weights.reshape(shifted.shape[:-1])
