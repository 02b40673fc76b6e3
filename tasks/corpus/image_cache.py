"""A dump's images, decoded once and kept in memory as far as a budget allows."""

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import CapacityError, ImageError
from stego_core.images.rendering import Picture
from tasks.corpus.index import IndexReader
from tasks.corpus.scene_groups import SceneGroups
from tasks.images.image_codecs import shrunk

Pixels = NDArray[np.uint8]


def with_data(picture: Picture) -> Pixels:
    """The rectangle of a picture that has all its data; black borders teach nothing."""
    if picture.valid is None:
        return picture.pixels
    rows, columns = (np.flatnonzero(picture.valid.any(axis=axis)) for axis in (1, 0))
    return picture.pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


class ImageCache:
    """A dump's images by row: kept in memory up to a budget, decoded again beyond it.

    Instead of an image that cannot be read any more it gives the next one that can, of registered
    images one of the same scene if there is any.
    """

    def __init__(
        self, index: IndexReader, side: int, budget: int, scenes: SceneGroups | None = None
    ) -> None:
        """Images of a short side of at most `side` pixels; `budget` in MiB.

        With `scenes` the images are registered, and keep their borders without data.
        """
        self.index, self.side, self.scenes = index, side, scenes
        self.count = int(index.manifest["images"])
        self.free = budget * 2**20
        self.images: dict[int, Pixels] = {}
        self.invalid: dict[int, str] = {}
        self.lock = threading.Lock()

    def __call__(self, rows: NDArray[np.int64]) -> list[Pixels]:
        """(H, W, 3) uint8 RGB of each row.

        Raises:
            CapacityError: not one image can be read.
        """
        missing = sorted({int(row) for row in rows} - self.images.keys())
        read = {row: self._read(row) for row in missing}
        return [read[row] if row in read else self.images[row] for row in map(int, rows)]

    def _read(self, row: int) -> Pixels:
        for candidate in self._candidates(row):
            if candidate in self.images:
                return self.images[candidate]
            if candidate in self.invalid:
                continue
            (entry,) = self.index.entries(np.array([candidate]))
            try:
                picture = self.index.image(entry)
                image = shrunk(picture.pixels if self.scenes else with_data(picture), self.side)
            except ImageError as error:
                self.invalid[candidate] = str(error)
                continue
            with self.lock:  # several batches are made at once
                if candidate not in self.images and image.nbytes <= self.free:
                    self.free -= image.nbytes
                    self.images[candidate] = image
            return image
        raise CapacityError(f"dump {self.index.dump} has no image that can be read")

    def _candidates(self, row: int) -> Iterator[int]:
        """The images that may stand for a row, from the row itself on.

        Those of another scene begin with the scene, not with the row: where no image of a scene
        can be read, all of its rows get the same one.
        """
        first = row
        if self.scenes is not None:
            siblings = self.scenes.siblings(row)
            first = min(siblings)
            yield from siblings
        yield from range(first, self.count)
        yield from range(first)
