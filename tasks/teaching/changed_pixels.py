"""How many pixels have another class in new masks of a dump than in those before."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from tasks.corpus.index import IndexReader
from tasks.engine.prefetch import ahead
from tasks.images import image_codecs
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

AT_ONCE = 4
"""Pairs of masks that are read at the same time; bounds memory."""


class ChangedPixels(NamedTuple):
    """Pixels of images that have both masks.

    Attributes:
        changed: those of another class.
        pixels: all of them.
        images: those with a changed pixel.
    """

    changed: int = 0
    pixels: int = 0
    images: int = 0

    def __add__(self, other: object) -> "ChangedPixels":
        """Of both together."""
        if not isinstance(other, ChangedPixels):
            return NotImplemented
        return ChangedPixels(*(a + b for a, b in zip(self, other, strict=True)))


def changed_pixels(
    workspace: Workspace, dump: str, before: str, after: str, shown_as: NDArray[np.uint8]
) -> ChangedPixels:
    """Compare the masks of two keys.

    Args:
        before, after: keys of the masks.
        shown_as: (256,) the class that each stored id counts as, of both.
    """
    paths = layout.masks(before, dump), layout.masks(after, dump)
    storage = workspace.storage

    def compare(image_id: str) -> ChangedPixels:
        try:
            old, new = (
                shown_as[image_codecs.decode_mask(storage.read(layout.mask(path, image_id)))]
                for path in paths
            )
        except (FileNotFoundError, ImageError):
            return ChangedPixels()  # one of them has no mask of it
        changed = int(np.count_nonzero(old != new))
        return ChangedPixels(changed, new.size, int(changed > 0))

    total = ChangedPixels()
    for _, part in ahead(_image_ids(workspace, dump), compare, AT_ONCE):
        total += part
    return total


def _image_ids(workspace: Workspace, dump: str) -> Iterator[str]:
    for part in IndexReader(workspace, dump).column("image_id"):
        yield from part
