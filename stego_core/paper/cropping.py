"""How STEGO cuts images and labels: five half-size crops, a short side, the centre; to the pixel.

The arithmetic is that of torchvision's `five_crop`, `resize` and `center_crop` on PIL images, which
the released loaders call. It differs by a pixel from `geometry`, which cuts before it resamples and
rounds down.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import ImageError
from stego_core.images.geometry import Window

Resampling = Literal["nearest", "bilinear"]
FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


def crop_windows(height: int, width: int, five: bool) -> list[Window]:
    """Four corners and the centre of half the image's sides, or the whole image.

    Raises:
        ImageError: the image is too small to be halved.
    """
    if not five:
        return [Window(0, 0, height, width)]
    h, w = height // 2, width // 2
    if min(h, w) < 1:
        raise ImageError(f"{width}×{height} is too small for crops of half its sides")
    corners = [(0, 0), (0, width - w), (height - h, 0), (height - h, width - w)]
    corners.append((_middle(height, h), _middle(width, w)))
    return [Window.sized(top, left, h, w) for top, left in corners]


def resized_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width with the short side `side`; the long one is cut off to a whole number."""
    short, long = min(height, width), max(height, width)
    other = side * long // short
    return (side, other) if height <= width else (other, side)


def centre_window(height: int, width: int, side: int) -> Window:
    """The central square of an array that is at least that large; halves round to even."""
    return Window.sized(_middle(height, side), _middle(width, side), side, side)


def _middle(length: int, part: int) -> int:
    return round((length - part) / 2)


def resized_square(
    pixels: NDArray[np.uint8], side: int, resampling: Resampling
) -> NDArray[np.uint8]:
    """Short side resized to `side`, then the central square.

    Pixels are (H, W, 3) uint8 RGB, or (H, W) uint8 class ids, which need "nearest"; the released
    code resamples images, too, with that.
    """
    height, width = resized_size(pixels.shape[0], pixels.shape[1], side)
    image = Image.fromarray(pixels).resize((width, height), FILTERS[resampling])
    window = centre_window(height, width, side)
    return np.ascontiguousarray(np.asarray(image)[window.slices])
