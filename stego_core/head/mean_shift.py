"""Mean shift of an image's patches, and how many of them each one stands for."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

RECIPE = "mean-shift"
"""Name of mean shift among the recipes of the head."""
SHARPNESS = 20.0
"""Concentration κ of the kernel: a patch at cosine 0.85 weighs a twentieth of one at 1."""
ITERATIONS = 3
"""Updates of mean shift."""
DENSITY_SHARPNESS = 10.0
"""κ of the kernel that counts an object's patches, wider than that of mean shift."""
TRAINING = 0.5
"""Power of `sampling_weights` in training: an object of n patches is sampled as often as √n."""
CLUSTERING = 1.0
"""Power in clustering: all objects are sampled equally often (docs/notes/mean-shift.md)."""


def mean_shift(
    features: Tensor, sharpness: float = SHARPNESS, iterations: int = ITERATIONS
) -> Tensor:
    """Features that move to the mode of their object: less texture, the same borders.

    x_i ← unit( Σ_j exp(κ x_i · f_j) f_j ), from x = f, over the patches f_j of the same image:
    mean shift (Comaniciu & Meer 2002) on the sphere, with the von Mises-Fisher kernel.

    Args:
        features: (B, ..., C) of any norm; the axes between count an image's patches.
        sharpness: κ.

    Returns:
        the same shape, norm 1; patches of zeros, which hold no data, stay zero and move no other.
    """
    shape = features.shape
    images = normalize(features.reshape(shape[0], -1, shape[-1]), dim=-1)
    moved = torch.stack([_shifted(image, sharpness, iterations) for image in images])
    data = (images != 0).any(dim=-1)
    if not data.all():
        moved = moved * data[..., None]
    return moved.reshape(shape)


def _shifted(patches: Tensor, sharpness: float, iterations: int) -> Tensor:
    """One image's (n, C) patches; an n×n matrix of weights is held for one image at a time."""
    moved = patches
    for _ in range(iterations):
        weights = torch.softmax(sharpness * (moved @ patches.T), dim=-1)
        moved = normalize(weights @ patches, dim=-1)
    return moved


def sampling_weights(shifted: Tensor, power: float) -> Tensor:
    """Relative chances of patches to be sampled, so that large objects do not displace small ones.

    w_i = n_i^−p, n_i = Σ_j exp(κ (x_i · x_j − 1)): the kernel density at a patch, which counts the
    similar patches of its image. The n patches of an object weigh n^(1 − p) together.

    With p = `power` 0 all patches weigh the same, with 1 all objects do. The weights (B, ...) of
    patches (B, ..., C) from `mean_shift` are in (0, 1]; 0 of patches of zeros, which hold no data.
    """
    images = shifted.reshape(shifted.shape[0], -1, shifted.shape[-1])
    counts = torch.stack(
        [(DENSITY_SHARPNESS * (image @ image.T - 1)).exp().sum(dim=-1) for image in images]
    )
    data = (images != 0).any(dim=-1)
    if not data.all():  # each patch of zeros added exp(−κ)
        counts = counts - (~data).sum(dim=-1, keepdim=True) * math.exp(-DENSITY_SHARPNESS)
    return (counts.clamp(min=1) ** -power * data).reshape(shifted.shape[:-1])
