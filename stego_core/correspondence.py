"""Correspondence tensors and the loss that distils them into codes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Terms(NamedTuple):
    """One value for each of STEGO's three kinds of pairs."""

    self: Tensor
    knn: Tensor
    rand: Tensor


class Sampled(NamedTuple):
    """Tokens of a batch and their codes, n tokens per image.

    Attributes:
        features: (B, n, C) frozen features.
        codes: (B, n, D) codes of the same tokens.
    """

    features: Tensor
    codes: Tensor

    def unit(self) -> "Sampled":
        """The same tokens with features and codes scaled to norm 1."""
        return Sampled(normalize(self.features, dim=-1), normalize(self.codes, dim=-1))

    def permuted(self, order: Tensor) -> "Sampled":
        """The images in another order, (B,) int64."""
        return Sampled(self.features[order], self.codes[order])


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


def pair_loss(features: Tensor, codes: Tensor, shift: float) -> Tensor:
    """mean( −max(S, 0) · (F^SC − b) ), the loss of one kind of pair (equation 3).

    Args:
        features: (B, n, m) feature correspondences F, not yet centred.
        codes: (B, n, m) code correspondences S.
        shift: b; pairs with F^SC above it attract, below it repel.
    """
    return -(codes.clamp(min=0) * (spatially_centred(features) - shift)).mean()


def pair(anchor: Sampled, partner: Sampled, shift: float) -> tuple[Tensor, Tensor]:
    """Loss of one kind of pair and its mean code correspondence.

    Args:
        anchor, partner: tokens of norm 1 (`Sampled.unit`), so that products are cosines.
        shift: b.

    Returns:
        the scalar loss, and the scalar mean of S (detached, unclamped).
    """
    features = anchor.features @ partner.features.transpose(-1, -2)
    codes = anchor.codes @ partner.codes.transpose(-1, -2)
    return pair_loss(features, codes, shift), codes.detach().mean()


def batch_terms(
    anchor: Sampled,
    positive: Sampled,
    other: Sampled,
    derangements: Tensor,
    shifts: tuple[float, float, float],
) -> tuple[Terms, Terms]:
    """The three losses of a batch and their mean code correspondences.

    Args:
        anchor: tokens of the images at their first set of positions.
        positive: tokens of one nearest neighbour of each image.
        other: tokens of the anchor images at their second set of positions.
        derangements: (draws, B) int64; each row a permutation without fixed points that gives
            every anchor its random partner among `other`.
        shifts: b of the self, knn and rand term.

    Returns:
        losses and mean correspondences, both as (self, knn, rand).
    """
    anchor, positive, other = anchor.unit(), positive.unit(), other.unit()
    loss_self, mean_self = pair(anchor, anchor, shifts[0])
    loss_knn, mean_knn = pair(anchor, positive, shifts[1])
    draws = [pair(anchor, other.permuted(order), shifts[2]) for order in derangements]
    loss_rand = torch.stack([loss for loss, _ in draws]).mean()
    mean_rand = torch.stack([mean for _, mean in draws]).mean()
    return Terms(loss_self, loss_knn, loss_rand), Terms(mean_self, mean_knn, mean_rand)


def derangement(size: int, generator: torch.Generator) -> Tensor:
    """A uniform permutation of 0..size−1 without fixed points, (size,) int64.

    Drawn by rejection: a third of all permutations qualify. A batch of one has none and gets
    itself as partner.
    """
    identity = torch.arange(size)
    if size < 2:
        return identity
    while True:
        permutation = torch.randperm(size, generator=generator)
        if not bool((permutation == identity).any()):
            return permutation
