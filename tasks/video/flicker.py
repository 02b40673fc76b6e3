"""Flicker over the images of a shard, counted while their pixels and masks are at hand."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stego_core.video.flicker import Flicker, flicker
from stego_core.video.frame_order import NONE
from tasks.corpus.index import IndexReader
from tasks.video import frame_order

Frame = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class Flickering:
    """Adds up the pairs of neighbouring frames that lie in one shard.

    The pairs across two shards are left out: those inside are many and as good, and nothing has
    to be read again for them.

    Attributes:
        total: over the pairs so far.
    """

    def __init__(self, index: IndexReader, rows: Sequence[int]) -> None:
        """Of a dump and the rows of a shard, in the order in which they come."""
        self.links = frame_order.links(index)
        self.waiting = set(rows)
        self.held: dict[int, Frame] = {}
        self.total = Flicker()

    def add(self, row: int, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        """Count a frame, (H, W, 3) and (H, W) uint8, with those of its neighbours that came."""
        if row not in self.waiting:
            return
        self.waiting.discard(row)
        for other in self._beside(row) & self.held.keys():
            images, masks = zip((image, mask), self.held[other], strict=True)
            self.total += flicker(images, masks)
        self.held[row] = (image, mask)
        self.held = {r: frame for r, frame in self.held.items() if self._beside(r) & self.waiting}

    def _beside(self, row: int) -> set[int]:
        return {int(direction[row]) for direction in self.links} - {NONE}
