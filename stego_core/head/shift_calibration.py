"""Shifts b measured on the features, without labels: pairs of one kind attract, others repel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from stego_core.clustering import kmeans
from stego_core.head.correspondence import correspondence, shifted_correspondence
from stego_core.head.shift_presets import Triple

TOKENS = 46_464
"""Anchors' tokens that are measured: 24 batches by default."""
MOST_BATCHES = 256
"""Batches that are measured at most, if they are small."""
KINDS = 6
"""Coarse kinds of patches. Real classes differ in size: eleven street classes are as diverse as
five of one size (the probability that two patches are of one class is 0.21 on CamVid)."""
RESTARTS = 16
"""Starts of k-means."""
KEPT = 4
"""Starts of lowest inertia whose shares are averaged: those of one alone vary by a fifth."""
SAMPLE = 8192
"""Tokens on which k-means finds the kinds."""


class Attracting(NamedTuple):
    """How many pairs attract, as multiples of those that are of one kind.

    Attributes:
        self, knn, rand: of self, knn and random pairs, as multiples of each.
        rand_of_self: of random pairs, as a multiple of the self pairs; added to `rand`.
    """

    self: float
    knn: float
    rand: float
    rand_of_self: float


PLAIN = Attracting(1, 1, 0.5, 0)
"""For features as they are."""
SHIFTED = Attracting(1.1, 1.1, 0, 0.25)
"""For features after mean shift (docs/notes/shifts.md)."""


class Tokens(NamedTuple):
    """Tokens of some images and of their partners, each (B, n, C) float32; pair b is (b, b)."""

    one: Tensor
    other: Tensor


class Measured(NamedTuple):
    """Measurements of self, knn and random pairs.

    Attributes:
        shifts: b.
        shares: share of the pairs of patches that attract, in [0, 1].
    """

    shifts: Triple
    shares: Triple


def measure(
    batches: Sequence[tuple[Tokens, Tokens, Tokens]],
    seed: int,
    attracting: Attracting,
    centring: bool = True,
) -> Measured:
    """The shifts at which about as many pairs attract as are of one kind.

    k-means sorts patches into a few coarse kinds. The share of pairs of one kind is measured for
    patches of one image, of neighbours, and of random images: it is large where a crop shows
    little, small where it shows a whole street. The best starts of k-means are averaged. Pairs
    attract where the centred correspondence F^SC exceeds b, so b is the quantile of F^SC that
    leaves `attracting` times this share above it; without centring, that of F.

    Args:
        batches: of tokens as training samples them: pairs of self, knn and random images.
        seed: of the sample and of the k-means starts.
        attracting: how many pairs shall attract.
    """
    sortings = coarse_kinds(torch.cat([pairs[0].one.flatten(0, 1) for pairs in batches]), seed)
    by_pair = list(zip(*batches, strict=True))
    own, knn, rand = (
        float(np.mean([same_kind(part, kinds) for part in pairs for kinds in sortings]))
        for pairs in by_pair
    )
    of_random = attracting.rand * rand + attracting.rand_of_self * own
    shares = (attracting.self * own, attracting.knn * knn, of_random)
    shares = Triple(*(min(1.0, share) for share in shares))
    each = zip(by_pair, shares, strict=True)
    return Measured(Triple(*(exceeded_by(*one, centring) for one in each)), shares)


def exceeded_by(pairs: Sequence[Tokens], share: float, centring: bool = True) -> float:
    """The value that this share of the pairs' correspondences F^SC, or F, exceeds."""
    values = [shifted_correspondence(correspondence(*part), 0, centring) for part in pairs]
    return float(np.quantile(torch.cat([each.flatten() for each in values]).numpy(), 1 - share))


def coarse_kinds(tokens: Tensor, seed: int) -> list[NDArray[np.float32]]:
    """(KINDS, C) unit centroids of tokens (n, C), of the best starts; fewer of fewer tokens."""
    generator = np.random.default_rng(seed)
    sampled = np.sort(generator.permutation(len(tokens))[:SAMPLE])
    vectors = normalize(tokens[torch.from_numpy(sampled)], dim=-1).numpy()
    clusters = min(KINDS, len(vectors))
    runs = [kmeans.fit(vectors, clusters, generator, tolerance=1e-5) for _ in range(RESTARTS)]
    return [run.centroids for run in sorted(runs, key=lambda run: run.inertia)[:KEPT]]


def same_kind(pairs: Tokens, kinds: NDArray[np.float32]) -> float:
    """Share of the pairs of tokens, one of each side, whose nearest kinds are the same."""
    one, other = ((part @ torch.from_numpy(kinds).T).argmax(dim=-1) for part in pairs)
    return float((one[:, :, None] == other[:, None, :]).float().mean())
