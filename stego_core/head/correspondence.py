"""Correspondence tensors and the loss that distils them into codes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Terms(NamedTuple):
    """One value for each of STEGO's three kinds of pairs."""

    self: Tensor
    knn: Tensor
    rand: Tensor


def correspondence(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every token of a with every token of b.

    F_ij = a_i · b_j / (|a_i| |b_j|)  (Hamilton et al. 2022, equation 1).

    Args:
        a: (B, n, C).
        b: (B, m, C).

    Returns:
        (B, n, m) in [-1, 1].
    """
    return normalize(a, dim=-1) @ normalize(b, dim=-1).transpose(-1, -2)


def spatially_centred(correspondences: Tensor) -> Tensor:
    """Subtract each row's mean, then add the tensor's old global mean back.

    F^SC_ij = F_ij − mean_j F_ij + mean F  (equation 4 and its published code).

    Args:
        correspondences: (B, n, m).
    """
    return correspondences - correspondences.mean(dim=-1, keepdim=True) + correspondences.mean()


def shifted_correspondence(features: Tensor, shift: float) -> Tensor:
    """F^SC − b: above 0 for pairs of tokens that attract, below for those that repel.

    Args:
        features: (B, n, m) feature correspondences F, not yet centred.
        shift: b.
    """
    return spatially_centred(features) - shift


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
        """The cosines (B, n, n) of each kind of pair."""
        return [one @ other.transpose(-1, -2) for one, other in self.pairs()]


def batch_shifted_correspondences(features: Compared, shifts: Sequence[float]) -> list[Tensor]:
    """F^SC − b of each kind of pair, (B, n, n); the shifts b are of self, knn and rand."""
    of_each = [shifts[0], shifts[1], *[shifts[2]] * len(features.partners)]
    return list(map(shifted_correspondence, features.correspondences(), of_each))


def batch_terms(codes: Compared, shifted: Sequence[Tensor]) -> tuple[Terms, Terms]:
    """The three losses of a batch and their mean code correspondences.

    Args:
        codes: of the tokens.
        shifted: of the same tokens' features (`batch_shifted_correspondences`).

    Returns:
        losses, and means of S (detached, unclamped), both as (self, knn, rand).
    """
    correspondences = codes.correspondences()
    losses = list(map(correspondence_loss, correspondences, shifted))
    means = [values.detach().mean() for values in correspondences]
    # Random pairs count with the mean over their draws.
    of_losses, of_means = (
        Terms(self, knn, torch.stack(draws).mean()) for self, knn, *draws in (losses, means)
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
