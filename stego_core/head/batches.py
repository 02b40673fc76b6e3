"""The batch of a training step: sampled images, their neighbours, and patches of both."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.head.correspondence import Compared, derangement
from stego_core.head.shift_presets import RANDOM_DRAWS

POSITIVE_RANKS = 7
"""A positive is sampled from ranks 1 to this; rank 0 is the image itself."""


class Images(NamedTuple):
    """Patches of some rows.

    Attributes:
        patches: (n, h, w, C) float16 features.
        weights: (n, h, w) float32, relative chances of an image's patches to be sampled, 0 of
            those without data; None where all are equal.
    """

    patches: NDArray[np.float16]
    weights: NDArray[np.float32] | None = None


ImageReader = Callable[[NDArray[np.int64]], Images]
"""Reads the patches of n rows, in this order, from memory or from storage."""


def with_data(patches: NDArray[np.float16]) -> NDArray[np.bool_] | None:
    """(n, h, w) which patches (n, h, w, C) hold data: those of zeros do not; None where all do."""
    if (patches[..., 0] != 0).all():  # true of most images, and fast
        return None
    data = (patches != 0).any(axis=-1)
    return None if data.all() else np.asarray(data)


def plain(patches: NDArray[np.float16]) -> Images:
    """Patches of equal chances, except for those without data, which are never sampled."""
    data = with_data(patches)
    return Images(patches, None if data is None else data.astype(np.float32))


@dataclass(frozen=True)
class TrainingSet:
    """Images that the head is trained on.

    Attributes:
        images: reader of rows.
        rows: (M,) int64 rows that are valid, in order.
        positives: (M, r) int64 rows of each one's nearest neighbours, itself left out.
    """

    images: ImageReader
    rows: NDArray[np.int64]
    positives: NDArray[np.int64]


class HeadBatch(NamedTuple):
    """The patches of one step; each distinct one is here once, however often it was sampled.

    A crop of 14×14 patches has about 90 distinct ones among 121 samples, and a head that reads
    only those has a third less to do.

    Attributes:
        tokens: (t, C) features, float32 as they are drawn; a step may round them.
        images: (t,) int64 which of the step's 2B images a token is of: anchors, then positives.
        positions: (3, B, n) int64 of each sampled token in `tokens`: anchor, positive, other.
        partners: (draws, B) int64 derangements: random partners of the anchors.
    """

    tokens: Tensor
    images: Tensor
    positions: Tensor
    partners: Tensor

    def compared(self, values: Tensor) -> Compared:
        """Values (t, D) of the tokens, arranged in the pairs that a step compares."""
        sampled = values.index_select(0, self.positions.flatten())
        anchor, positive, other = sampled.reshape(*self.positions.shape, -1)
        return Compared(anchor, positive, other, self.partners)

    def to(self, device: str | torch.device) -> "HeadBatch":
        """The same batch on a device."""
        return HeadBatch(*(part.to(device) for part in self))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step: independent of all other steps."""
    mixed = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


def draw_batch(
    data: TrainingSet,
    size: int,
    grid: int,
    generator: torch.Generator,
    negatives: int = RANDOM_DRAWS,
) -> HeadBatch:
    """Sample anchors and positives, grid² tokens of each, and the anchors' random partners.

    Tokens are sampled before the head runs, which is less work than codes of whole images
    (benchmarks/head.py). A position is uniform over the patches, the nearest-patch reading of
    STEGO's uniform coordinates. Set 1 serves the anchor, set 2 the positive and, on the anchors
    themselves, the random partners. Where patches have weights, positions follow them, and the
    random partners have a set of their own.

    Args:
        data: the images.
        size: B, anchors.
        grid: side of the sampled grid.
        generator: samples everything.
        negatives: random partners of each anchor.
    """
    anchors = torch.randint(len(data.rows), (size,), generator=generator).numpy()
    ranks = torch.randint(data.positives.shape[1], (size,), generator=generator).numpy()
    images = data.images(data.rows[anchors])
    neighbours = data.images(data.positives[anchors, ranks])
    count = grid**2
    first, second = (sample_positions(part, count, generator) for part in (images, neighbours))
    weighted = images.weights is not None
    third = sample_positions(images, count, generator) if weighted else second
    patches = images.patches[0, ..., 0].size
    offsets, all_anchors = torch.arange(size)[:, None] * patches, size * patches
    sampled = torch.stack([offsets + first, all_anchors + offsets + second, offsets + third])
    distinct, positions = torch.unique(sampled, return_inverse=True)
    of_anchors = distinct < all_anchors
    parts = (images, distinct[of_anchors]), (neighbours, distinct[~of_anchors] - all_anchors)
    tokens = np.concatenate(
        [
            np.asarray(part.patches.reshape(-1, part.patches.shape[-1])[at.numpy()], np.float32)
            for part, at in parts
        ]
    )
    draws = [derangement(size, generator) for _ in range(negatives)]
    return HeadBatch(torch.from_numpy(tokens), distinct // patches, positions, torch.stack(draws))


def sample_positions(images: Images, count: int, generator: torch.Generator) -> Tensor:
    """Flat positions (n, count) int64 of patches of n images, sampled with replacement."""
    number, height, width, _ = images.patches.shape
    if images.weights is None:
        return torch.randint(height * width, (number, count), generator=generator)
    weights = torch.from_numpy(images.weights.reshape(number, height * width))
    return torch.multinomial(weights, count, replacement=True, generator=generator)
