"""Temporal inconsistency of a shard's masks, counted while pixels and masks are in memory."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stego_core.video.flicker import ClassChanges, flicker
from stego_core.video.frame_order import NONE
from tasks.corpus.index import IndexReader
from tasks.video import frame_order

Frame = tuple[NDArray[np.uint8], NDArray[np.uint8]]


class FlickerCounter:
    """Sums over the pairs of neighbouring frames that lie in one shard.

    Pairs across two shards are left out: nothing has to be read again for those inside.

    Attributes:
        total: over the pairs so far.
    """

    def __init__(self, index: IndexReader, rows: Sequence[int]) -> None:
        """Count over the rows of a shard, in the order in which they come."""
        self.links = frame_order.links(index)
        self.waiting = set(rows)
        self.kept: dict[int, Frame] = {}
        self.total = ClassChanges()

    def add(self, row: int, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        """Count a frame, (H, W, 3) and (H, W) uint8, with its neighbours that came before."""
        if row not in self.waiting:
            return
        self.waiting.discard(row)
        for other in self._beside(row) & self.kept.keys():
            images, masks = zip((image, mask), self.kept[other], strict=True)
            self.total += flicker(images, masks)
        self.kept[row] = (image, mask)
        self.kept = {r: frame for r, frame in self.kept.items() if self._beside(r) & self.waiting}

    def _beside(self, row: int) -> set[int]:
        return {int(direction[row]) for direction in self.links} - {NONE}
