"""What a training step is made of: images, their neighbours, and the patches drawn from both."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.head.correspondence import Compared, derangement

RANDOM_DRAWS = 5
"""Random partners per anchor and step, as in STEGO."""
POSITIVE_RANKS = 7
"""A positive is drawn from ranks 1 to this; rank 0 is the image itself."""


class Images(NamedTuple):
    """Patches of some rows.

    Attributes:
        patches: (n, h, w, C) float16 features.
        weights: (n, h, w) float32, relative chances of an image's patches to be drawn, 0 of those
            without data; None where all are alike.
    """

    patches: NDArray[np.float16]
    weights: NDArray[np.float32] | None = None


class ImageReader(Protocol):
    """Gives rows of patch features, from memory or from storage."""

    def __call__(self, rows: NDArray[np.int64]) -> Images:
        """The patches of n rows, in the order asked for."""
        ...


def with_data(patches: NDArray[np.float16]) -> NDArray[np.bool_] | None:
    """(n, h, w) which patches (n, h, w, C) hold data: those of zeros do not; None where all do."""
    if (patches[..., 0] != 0).all():  # mostly so, and quickly told
        return None
    there = (patches != 0).any(axis=-1)
    return None if there.all() else np.asarray(there)


def plain(patches: NDArray[np.float16]) -> Images:
    """Patches that are drawn alike, but for those without data, which are not drawn."""
    there = with_data(patches)
    return Images(patches, None if there is None else there.astype(np.float32))


@dataclass(frozen=True)
class TrainingSet:
    """What the head learns from.

    Attributes:
        images: reader of rows.
        rows: (M,) int64 rows that are valid, in order.
        positives: (M, r) int64 rows of each one's nearest neighbours, itself left out.
    """

    images: ImageReader
    rows: NDArray[np.int64]
    positives: NDArray[np.int64]


class HeadBatch(NamedTuple):
    """The patches of one step; each distinct one is here once, however often it was drawn.

    A crop of 14×14 patches has about 90 distinct ones among 121 draws, and a head that sees those
    alone has a third less to do.

    Attributes:
        tokens: (t, C) float32 features.
        images: (t,) int64 which of the step's 2B images a token is of: anchors, then positives.
        places: (3, B, n) int64 of each drawn token among `tokens`: anchor, positive, other.
        partners: (draws, B) int64 derangements: random partners of the anchors.
    """

    tokens: Tensor
    images: Tensor
    places: Tensor
    partners: Tensor

    def compared(self, values: Tensor) -> Compared:
        """What is known of the tokens, (t, D), as a step compares it."""
        drawn = values.index_select(0, self.places.flatten())
        anchor, positive, other = drawn.reshape(*self.places.shape, -1)
        return Compared(anchor, positive, other, self.partners)

    def to(self, device: str | torch.device) -> "HeadBatch":
        """The same batch there."""
        return HeadBatch(*(part.to(device) for part in self))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step: independent of all other steps."""
    mixed = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))


def draw_batch(data: TrainingSet, size: int, grid: int, generator: torch.Generator) -> HeadBatch:
    """Draw anchors and positives, grid² tokens of each, and the anchors' random partners.

    Tokens are drawn before the head runs, so that it sees those alone: less work than codes for
    whole images (benchmarks/head.py). A position is uniform over the patches, the
    nearest-patch reading of STEGO's uniform coordinates. Set 1 serves the anchor, set 2 the
    positive and, on the anchors themselves, the random partners. Where patches have weights,
    positions follow them, and the random partners have a set of their own.

    Args:
        data: what is drawn from.
        size: B, anchors.
        grid: side of the sampled grid.
        generator: draws everything.
    """
    anchors = torch.randint(len(data.rows), (size,), generator=generator).numpy()
    ranks = torch.randint(data.positives.shape[1], (size,), generator=generator).numpy()
    images = data.images(data.rows[anchors])
    neighbours = data.images(data.positives[anchors, ranks])
    count = grid**2
    first, second = (positions(each, count, generator) for each in (images, neighbours))
    third = second if images.weights is None else positions(images, count, generator)
    patches = images.patches[0, ..., 0].size
    all_own = size * patches
    own = torch.arange(0, all_own, patches)[:, None]
    drawn = torch.stack([own + first, all_own + own + second, own + third])
    distinct, places = torch.unique(drawn, return_inverse=True)
    ours = distinct < all_own
    tokens = np.concatenate(
        [
            taken(images.patches, distinct[ours]),
            taken(neighbours.patches, distinct[~ours] - all_own),
        ]
    )
    draws = [derangement(size, generator) for _ in range(RANDOM_DRAWS)]
    return HeadBatch(torch.from_numpy(tokens), distinct // patches, places, torch.stack(draws))


def taken(patches: NDArray[np.float16], places: Tensor) -> NDArray[np.float32]:
    """Patches (n, C) float32 of images (B, h, w, C) at places (n,) of all B · h · w of them."""
    flat = patches.reshape(-1, patches.shape[-1])
    return np.asarray(flat[places.numpy()], np.float32)


def positions(images: Images, count: int, generator: torch.Generator) -> Tensor:
    """Flat positions (n, count) int64 of patches of n images, drawn with replacement."""
    number, height, width, _ = images.patches.shape
    if images.weights is None:
        return torch.randint(height * width, (number, count), generator=generator)
    weights = torch.from_numpy(images.weights.reshape(number, height * width))
    return torch.multinomial(weights, count, replacement=True, generator=generator)
