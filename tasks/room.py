"""Memory that decoding an image takes: predicted from its header, and shared between threads."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image

from stego_core.errors import CapacityError
from tasks import formats

GIB = 2**30
PICTURE_BYTES, DEEP_BYTES = 18, 44
"""Bytes a pixel while a file is decoded: of eight bits a channel, and of more. Measured."""
HELD_BYTES = 3
"""Bytes a pixel of a decoded image."""
DEEP_MODES = ("I", "F")


class Header(NamedTuple):
    """What the first bytes of a file tell; its pixels are not touched."""

    width: int
    height: int
    mode: str

    @property
    def pixels(self) -> int:
        """Of the whole image."""
        return self.width * self.height

    @property
    def decoding(self) -> int:
        """Bytes that are held at once while it is decoded, the file itself left out."""
        deep = self.mode.startswith(DEEP_MODES)
        return self.pixels * (DEEP_BYTES if deep else PICTURE_BYTES)


def header(content: bytes) -> Header | None:
    """The header of an image file; None where there is none, which its decoder will tell."""
    try:
        with Image.open(io.BytesIO(content), formats=formats.decoders()) as image:
            return Header(*image.size, image.mode)
    except Exception:  # damaged files make decoders fail in ways of their own
        return None


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
