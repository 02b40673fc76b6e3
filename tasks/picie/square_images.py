"""Images of several dumps as squares, for PiCIE's views."""

import numpy as np

from stego_core.images.geometry import square
from stego_core.picie.picie_training import Rows
from stego_core.picie.picie_views import Pixels
from tasks.corpus.image_cache import ImageCache
from tasks.corpus.index import IndexReader


class SquareImages:
    """Squares of images: their short sides resized, then the centres cut.

    Rows count through all dumps, in order.
    """

    def __init__(self, indices: list[IndexReader], side: int, budget: int) -> None:
        """Squares of `side` pixels; dumps share `budget` MiB for decoded images."""
        self.side = side
        self.caches = [ImageCache(index, side, budget // len(indices)) for index in indices]
        self.starts = np.cumsum([0, *(cache.count for cache in self.caches)])
        self.count = int(self.starts[-1])

    def __call__(self, rows: Rows) -> list[Pixels]:
        """(side, side, 3) uint8 RGB of each row; a CapacityError if a dump has no image left."""
        dumps = np.searchsorted(self.starts, rows, side="right") - 1
        return [
            square(self.caches[dump](np.array([row - self.starts[dump]]))[0], self.side)
            for dump, row in zip(dumps.tolist(), rows.tolist(), strict=True)
        ]

    @property
    def invalid(self) -> dict[int, str]:
        """Rows that could not be read, with their reasons."""
        return {
            int(start) + row: reason
            for start, cache in zip(self.starts[:-1], self.caches, strict=True)
            for row, reason in cache.invalid.items()
        }
