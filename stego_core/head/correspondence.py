"""Correspondence tensors and the loss that distils them into codes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


def correspondence(a: Tensor, b: Tensor) -> Tensor:
    """Cosines (B, n, m) of every token of a (B, n, C) with every token of b (B, m, C).

    F_ij = a_i · b_j / (|a_i| |b_j|)  (Hamilton et al. 2022, equation 1).
    """
    return normalize(a, dim=-1) @ normalize(b, dim=-1).transpose(-1, -2)


def spatially_centred(correspondences: Tensor) -> Tensor:
    """F^SC_ij = F_ij − mean_j F_ij + mean F, (B, n, m)  (equation 4 and its published code)."""
    return correspondences - correspondences.mean(dim=-1, keepdim=True) + correspondences.mean()


def shifted_correspondence(features: Tensor, shift: float, centring: bool = True) -> Tensor:
    """F^SC − b of F (B, n, m): above 0 for pairs of tokens that attract, below for others.

    Without centring it is F − b, as STEGO's `pointwise: False`.
    """
    return (spatially_centred(features) if centring else features) - shift


def correspondence_loss(codes: Tensor, shifted: Tensor) -> Tensor:
    """mean( −max(S, 0) · (F^SC − b) ), the loss of one kind of pair (equation 3).

    Args:
        codes: (B, n, m) code correspondences S.
        shifted: (B, n, m), F^SC − b.
    """
    # A dot product passes over the memory half as often as product and mean do.
    return -torch.dot(codes.relu().flatten(), shifted.flatten()) / codes.numel()


class Compared(NamedTuple):
    """Features or codes of a batch, of norm 1, as a step compares them: n tokens per image.

    Attributes:
        anchor: (B, n, C) of the images at their first set of positions.
        positive: (B, n, C) of one nearest neighbour of each image.
        other: (B, n, C) of the anchor images at another set of positions.
        partners: (draws, B) int64; each row a permutation without fixed points that gives every
            anchor its random partner among `other`.
    """

    anchor: Tensor
    positive: Tensor
    other: Tensor
    partners: Tensor

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Both sides of each kind of pair: self, knn, then every draw of random ones."""
        random = [(self.anchor, self.other[order]) for order in self.partners]
        return [(self.anchor, self.anchor), (self.anchor, self.positive), *random]

    def correspondences(self) -> list[Tensor]:
        """The cosines (B, n, n) of each kind of pair, float32 also of lower precision."""
        exact = torch.promote_types(self.anchor.dtype, torch.float32)
        return [(one @ other.transpose(-1, -2)).to(exact) for one, other in self.pairs()]


def batch_shifted_correspondences(
    features: Compared, shifts: Sequence[float], centring: bool = True
) -> list[Tensor]:
    """F^SC − b of each kind of pair, (B, n, n); the shifts b are of self, knn and rand."""
    of_each = [shifts[0], shifts[1], *[shifts[2]] * len(features.partners)]
    pairs = zip(features.correspondences(), of_each, strict=True)
    return [shifted_correspondence(f, shift, centring) for f, shift in pairs]


def batch_terms(codes: Compared, shifted: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """A batch's losses of self, knn and random pairs, and means of S (detached, unclamped).

    `shifted` are the `batch_shifted_correspondences` of the same tokens' features.
    """
    correspondences = codes.correspondences()
    losses = list(map(correspondence_loss, correspondences, shifted))
    means = [values.detach().mean() for values in correspondences]
    # Random pairs count with the mean over their draws.
    of_losses, of_means = (
        [own, knn, torch.stack(draws).mean()] for own, knn, *draws in (losses, means)
    )
    return of_losses, of_means


def derangement(size: int, generator: torch.Generator) -> Tensor:
    """A uniform permutation of 0..size−1 without fixed points, (size,) int64.

    Sampled by rejection: a third of all permutations qualify. A batch of one has none and gets
    itself as partner.
    """
    identity = permutation = torch.arange(size)
    while size > 1 and bool((permutation == identity).any()):
        permutation = torch.randperm(size, generator=generator)
    return permutation
