"""Shifts measured on the features, without a label: pairs of one kind attract, others repel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from stego_core.clustering import kmeans
from stego_core.head.correspondence import correspondence, spatially_centred
from stego_core.head.shift_presets import Triple

TOKENS, MOST_BATCHES = 46_464, 256
"""Anchors' tokens that are measured (24 batches by default), and the limit for small batches."""
KINDS = 6
"""Coarse kinds of patches. Real classes differ in size: eleven street classes are as diverse as
five of one size (the probability that two patches are of one class is 0.21 on CamVid)."""
RESTARTS, KEPT = 16, 4
"""k-means starts, and those of lowest inertia whose shares are averaged: one alone may be off by a
fifth from seed to seed."""
SAMPLE = 8192
"""Tokens that the kinds are found on."""


class Attracting(NamedTuple):
    """How many pairs attract, in parts of those that are of one kind.

    Attributes:
        self, knn, rand: of self, knn and random pairs, in parts of each.
        rand_of_self: of random pairs, in parts of the self pairs; added to `rand`.
    """

    self: float
    knn: float
    rand: float
    rand_of_self: float


PLAIN, SHIFTED = Attracting(1, 1, 0.5, 0), Attracting(1.1, 1.1, 0, 0.25)
"""For features as they are, and for those of a recipe that draws them together first
(docs/notes/shifts.md)."""


class Tokens(NamedTuple):
    """Tokens of some images and of their partners, each (B, n, C) float32; pair b is (b, b)."""

    one: Tensor
    other: Tensor


class Measured(NamedTuple):
    """What was found for self, knn and random pairs.

    Attributes:
        shifts: b.
        shares: share of the pairs of patches that attract, in [0, 1].
    """

    shifts: Triple
    shares: Triple


def measure(
    batches: Sequence[tuple[Tokens, Tokens, Tokens]], seed: int, attracting: Attracting
) -> Measured:
    """The shifts at which about as many pairs attract as are of one kind.

    Patches are sorted into a few coarse kinds by k-means on their features. That tells how often
    two patches of one image, of neighbours, or of random images are of one kind: often where a
    crop shows little, seldom where it shows a whole street. The best starts of k-means are
    averaged. Pairs attract where the centred correspondence F^SC exceeds b, so b is the quantile
    of F^SC that leaves the wanted part of this share above it.

    Args:
        batches: of tokens as training draws them: pairs of self, knn and random images.
        seed: of the sample and of the k-means starts.
        attracting: how many are wanted.
    """
    sortings = coarse_kinds(torch.cat([pairs[0].one.flatten(0, 1) for pairs in batches]), seed)
    kinds_of_pairs = list(zip(*batches, strict=True))
    same = Triple(
        *(
            float(np.mean([same_kind(part, kinds) for part in pairs for kinds in sortings]))
            for pairs in kinds_of_pairs
        )
    )
    wanted = (
        attracting.self * same.self,
        attracting.knn * same.knn,
        attracting.rand * same.rand + attracting.rand_of_self * same.self,
    )
    shares = Triple(*(min(1.0, share) for share in wanted))
    return Measured(Triple(*map(exceeded_by, kinds_of_pairs, shares)), shares)


def exceeded_by(pairs: Sequence[Tokens], share: float) -> float:
    """The value that this share of the pairs' centred correspondences F^SC exceeds."""
    centred = [spatially_centred(correspondence(*part)).flatten() for part in pairs]
    return float(np.quantile(torch.cat(centred).numpy(), 1 - share))


def coarse_kinds(tokens: Tensor, seed: int) -> list[NDArray[np.float32]]:
    """(KINDS, C) unit centroids of tokens (n, C), of the best starts; fewer of fewer tokens."""
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(len(tokens))[:SAMPLE])
    vectors = normalize(tokens[torch.from_numpy(chosen)], dim=-1).numpy()
    clusters = min(KINDS, len(vectors))
    runs = [kmeans.fit(vectors, clusters, generator, tolerance=1e-5) for _ in range(RESTARTS)]
    best = sorted(runs, key=lambda run: run.inertia)[:KEPT]
    return [run.centroids for run in best]


def same_kind(pairs: Tokens, kinds: NDArray[np.float32]) -> float:
    """Share of the pairs of tokens, one of each side, whose nearest kinds are the same."""
    one, other = ((part @ torch.from_numpy(kinds).T).argmax(dim=-1) for part in pairs)
    return float((one[:, :, None] == other[:, None, :]).float().mean())
