"""Pictures for the explorer's page: JPEGs of images, grey PNGs of ids and cosines."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.labels.void import VOID_BYTE
from tasks.images import image_codecs

THUMB_SIDE = 240
"""Short side of a thumbnail at most, pixels."""
VIEW_SIDE = 1440
"""Short side of a picture at most, pixels."""


def photo(pixels: NDArray[np.uint8], side: int) -> bytes:
    """A JPEG of RGB pixels (H, W, 3) uint8, with a short side of at most `side`."""
    return image_codecs.encode_overlay(image_codecs.shrunk(pixels, side))


def ids(values: NDArray[np.integer], side: int) -> bytes:
    """A grey PNG of ids (H, W), as large as `photo` makes the image; negative ones become 255.

    Ids are never mixed: a pixel has the id at its centre.
    """
    height, width = values.shape
    rows, columns = image_codecs.shrunk_size(height, width, side)
    ys = (2 * np.arange(rows) + 1) * height // (2 * rows)
    xs = (2 * np.arange(columns) + 1) * width // (2 * columns)
    nearest = values[np.ix_(ys, xs)]
    grey = np.where(nearest < 0, VOID_BYTE, nearest).astype(np.uint8)
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
