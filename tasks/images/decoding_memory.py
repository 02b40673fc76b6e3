"""Memory that decoding an image takes: predicted from its header, and shared between threads."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image

from stego_core.errors import CapacityError
from tasks.files import formats
from tasks.images.photos import TIFFS, tiff_tags

GIB = 2**30
PICTURE_BYTES, CLEAR_BYTES, DEEP_BYTES = 18, 32, 40
"""Bytes a pixel that decoding takes: of eight bits a channel, of those with transparency, and of
more bits; measured at 10 to 14, 20 and 24 to 29, what is counted of the numbers left out."""
HELD_BYTES = 3
"""Bytes a pixel of a decoded image."""
DEEP_MODES = ("I", "F")
WIDTH, HEIGHT = 256, 257
"""Tags of a TIFF."""


class Header(NamedTuple):
    """What the first bytes of a file tell; its pixels are not touched."""

    width: int
    height: int
    mode: str
    transparent: bool

    @property
    def pixels(self) -> int:
        """Of the whole image."""
        return self.width * self.height

    @property
    def decoding(self) -> int:
        """Bytes that are held at once while it is decoded, the file itself left out."""
        if self.mode.startswith(DEEP_MODES):
            return self.pixels * DEEP_BYTES
        return self.pixels * (CLEAR_BYTES if self.transparent else PICTURE_BYTES)


def header(content: bytes) -> Header | None:
    """The header of an image file; None where there is none, which its decoder will tell."""
    try:
        with Image.open(io.BytesIO(content), formats=formats.decoders()) as image:
            return Header(*image.size, image.mode, image.has_transparency_data)
    except Exception:  # damaged files make decoders fail in ways of their own
        return _raster(content)


def _raster(content: bytes) -> Header | None:
    """The header of a TIFF that Pillow does not know; GDAL reads it in blocks."""
    tags = tiff_tags(content) if content[:4] in TIFFS else {}
    sides = [tags.get(WIDTH), tags.get(HEIGHT)]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    return Header(int(tags[WIDTH]), int(tags[HEIGHT]), "raster", False)


def reading_memory(pixels: int) -> int:
    """Bytes that are held at once where images of so many pixels are read one after another.

    One is at hand, the next one is being decoded meanwhile.
    """
    return pixels * (HELD_BYTES + PICTURE_BYTES)


class Room:
    """Bytes that the threads of a shard share: who needs some waits until they are free."""

    def __init__(self, size: int) -> None:
        """Room of so many bytes."""
        self.size, self.free = size, size
        self.changed = threading.Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """Take bytes until the end of the block; no more than there are in all."""
        with self.changed:
            self.changed.wait_for(lambda: needed <= self.free)
            self.free -= needed
        try:
            yield
        finally:
            with self.changed:
                self.free += needed
                self.changed.notify_all()

    @contextmanager
    def for_decoding(self, path: str, content: bytes, max_pixels: int) -> Iterator[None]:
        """Room to decode a file until the end of the block.

        Raises:
            CapacityError: there is less in all; says both numbers and what to do.
        """
        found = header(content)
        known = found is not None and found.pixels <= max_pixels  # else nothing will be decoded
        needed = found.decoding if found and known else 0
        if found and needed > self.size:
            raise CapacityError(
                f"{path}: decoding its {found.width}×{found.height} pixels takes about "
                f"{needed / GIB:.1f} GiB, and a worker has {max(self.size, 0) / GIB:.1f} GiB left "
                "for it; raise --memory-limit, use fewer --workers, or let such images be "
                f"quarantined with --max-pixels {found.pixels - 1}"
            )
        with self.taken(needed):
            yield
