"""Pictures as the explorer's page gets them: JPEGs of images, grey PNGs of ids and cosines."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.labels.void import VOID_BYTE
from tasks.images import image_codecs

THUMB_SIDE, VIEW_SIDE = 240, 1440
"""Short sides at most, pixels."""


def photo(pixels: NDArray[np.uint8], side: int) -> bytes:
    """A JPEG of RGB pixels (H, W, 3) uint8, with a short side of at most `side`."""
    return image_codecs.encode_overlay(image_codecs.shrunk(pixels, side))


def ids(values: NDArray[np.integer], side: int) -> bytes:
    """A grey PNG of ids (H, W), as large as `photo` makes the image; negative ones become 255.

    A pixel has the id of one pixel below it, never a mixture.
    """
    height, width = values.shape
    rows, columns = _shrunk_size(height, width, side)
    ys = (2 * np.arange(rows) + 1) * height // (2 * rows)
    xs = (2 * np.arange(columns) + 1) * width // (2 * columns)
    drawn = values[np.ix_(ys, xs)]
    grey = np.where(drawn < 0, VOID_BYTE, drawn).astype(np.uint8)
    return image_codecs.encode_margins(grey)


def cosines(values: NDArray[np.float32]) -> dict[str, Any]:
    """Cosines (h, w) for a page: `height`, `width`, `mean`, and `values`, base64 of h·w bytes.

    A byte b stands for the cosine 2 b / 255 − 1.
    """
    height, width = values.shape
    packed = np.round((np.clip(values, -1, 1) + 1) * 127.5).astype(np.uint8)
    return {
        "height": height,
        "width": width,
        "mean": float(values.mean()),
        "values": base64.b64encode(packed.tobytes()).decode(),
    }


def _shrunk_size(height: int, width: int, side: int) -> image_codecs.Size:
    """The size that `images.shrunk` gives."""
    if min(height, width) <= side:
        return image_codecs.Size(height, width)
    scale = side / min(height, width)
    return image_codecs.Size(max(round(height * scale), side), max(round(width * scale), side))
