"""A dump's images, decoded once and held in memory as far as a budget allows."""

import threading

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import CapacityError, ImageError
from stego_core.images.rendering import Picture
from stego_core.pretrain.views import Pixels
from tasks.corpus.index import IndexReader
from tasks.images.image_codecs import shrunk


def with_data(picture: Picture) -> Pixels:
    """The rectangle of a picture that has all its data; black frames teach nothing."""
    if picture.valid is None:
        return picture.pixels
    rows, columns = (np.flatnonzero(picture.valid.any(axis=axis)) for axis in (1, 0))
    return picture.pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


class ImageCache:
    """A dump's images by row: held in memory up to a budget, decoded anew beyond it.

    An image that cannot be read any more gives its place to the next one that can.
    """

    def __init__(self, index: IndexReader, side: int, budget: int) -> None:
        """Images of a short side of at most `side` pixels; `budget` in MiB."""
        self.index, self.side = index, side
        self.count = int(index.manifest["images"])
        self.free = budget * 2**20
        self.held: dict[int, Pixels] = {}
        self.invalid: dict[int, str] = {}
        self.lock = threading.Lock()

    def __call__(self, rows: NDArray[np.int64]) -> list[Pixels]:
        """(H, W, 3) uint8 RGB of each row.

        Raises:
            CapacityError: not one image can be read.
        """
        missing = sorted({int(row) for row in rows} - self.held.keys())
        read = {row: self._read(row) for row in missing}
        return [read[row] if row in read else self.held[row] for row in map(int, rows)]

    def _read(self, row: int) -> Pixels:
        for place in range(row, row + self.count):
            candidate = place % self.count
            if candidate in self.held:
                return self.held[candidate]
            if candidate in self.invalid:
                continue
            (entry,) = self.index.entries(np.array([candidate]))
            try:
                image = shrunk(with_data(self.index.image(entry)), self.side)
            except ImageError as error:
                self.invalid[candidate] = str(error)
                continue
            with self.lock:  # several batches are drawn at once
                if candidate not in self.held and image.nbytes <= self.free:
                    self.free -= image.nbytes
                    self.held[candidate] = image
            return image
        raise CapacityError(f"dump {self.index.dump} has no image that can be read")
