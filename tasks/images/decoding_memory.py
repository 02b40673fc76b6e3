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
PICTURE_BYTES = 18
"""Bytes a pixel that decoding takes, of eight bits a channel; measured at 10 to 14."""
TRANSPARENT_BYTES = 32  # the same of pictures with transparency; measured at 20
DEEP_BYTES = 40
"""The same of more bits a channel; measured at 24 to 29, without the counts of the numbers."""
DECODED_BYTES = 3  # bytes a pixel of a decoded image
DEEP_MODES = ("I", "F")  # beginnings of Pillow's names for modes of more than eight bits
WIDTH = 256  # tag of a TIFF's width
HEIGHT = 257  # tag of a TIFF's height


class Header(NamedTuple):
    """The facts in the first bytes of a file; its pixels are not touched."""

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
        return self.pixels * (TRANSPARENT_BYTES if self.transparent else PICTURE_BYTES)


def header(content: bytes) -> Header | None:
    """The header of an image file; None without one, its decoder then says what is wrong."""
    try:
        with Image.open(io.BytesIO(content), formats=formats.decoders()) as image:
            return Header(*image.size, image.mode, image.has_transparency_data)
    except Exception:  # damaged files make decoders fail in ways of their own
        return _tiff_header(content)


def _tiff_header(content: bytes) -> Header | None:
    """The header of a TIFF that Pillow does not know; GDAL reads it in blocks."""
    tags = tiff_tags(content) if content[:4] in TIFFS else {}
    sides = [tags.get(WIDTH), tags.get(HEIGHT)]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    return Header(int(tags[WIDTH]), int(tags[HEIGHT]), "raster", False)


def reading_memory(pixels: int) -> int:
    """Bytes that reading images of `pixels` pixels takes: one is decoded ahead of its use."""
    return pixels * (DECODED_BYTES + PICTURE_BYTES)


class MemoryBudget:
    """Bytes that the threads of a shard share: a thread waits until enough are free for it."""

    def __init__(self, size: int) -> None:
        """A budget of `size` bytes."""
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
        """Take the bytes for decoding a file; a CapacityError if the whole budget is smaller."""
        image = header(content)
        if image is None or image.pixels > max_pixels:  # then nothing will be decoded
            yield
            return
        if image.decoding > self.size:
            raise CapacityError(
                f"{path}: decoding its {image.width}×{image.height} pixels takes about "
                f"{image.decoding / GIB:.1f} GiB, and a worker has {max(self.size, 0) / GIB:.1f} "
                "GiB left for it; raise --memory-limit, use fewer --workers, or let such images be "
                f"quarantined with --max-pixels {image.pixels - 1}"
            )
        with self.taken(image.decoding):
            yield
