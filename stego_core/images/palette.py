"""Colours of classes: a fixed palette, coloured maps and overlays."""

import colorsys

import numpy as np
from numpy.typing import NDArray

ANCHORS = (
    (0.58, 0.55, 0.95),
    (0.02, 0.75, 0.90),
    (0.33, 0.60, 0.70),
    (0.13, 0.80, 1.00),
    (0.78, 0.50, 0.80),
    (0.48, 0.75, 0.80),
    (0.92, 0.45, 0.95),
    (0.08, 0.65, 0.60),
    (0.66, 0.75, 0.65),
    (0.23, 0.60, 0.90),
    (0.00, 0.00, 0.55),
    (0.97, 0.85, 0.60),
)
"""Hue, saturation and value of the first colours, chosen to differ in all three."""
GOLDEN = 0.618034
"""Step from one further hue to the next: it never comes back to a hue that was used."""
VOID_COLOUR = (0, 0, 0)
"""Colour of pixels without a class."""
BLENDED_ROWS = 64
"""Rows that `overlay` blends at once: floats of a whole large image would not fit."""


def palette(classes: int) -> NDArray[np.uint8]:
    """Distinct colours, none of them black: (classes, 3) uint8 RGB; colour i never changes."""
    return np.array([_colour(i) for i in range(classes)], np.uint8).reshape(classes, 3)


def _colour(index: int) -> tuple[int, ...]:
    further = (index * GOLDEN % 1, (0.45, 0.85, 0.65)[index % 3], (0.95, 0.7, 0.5)[index // 3 % 3])
    hsv = ANCHORS[index] if index < len(ANCHORS) else further
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(*hsv))


def coloured(classes: NDArray[np.integer], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class ids (H, W) as colours (H, W, 3) uint8; ids without a colour (void) are black."""
    table = np.vstack([colours, np.array([VOID_COLOUR], np.uint8)])
    return table[np.where((classes < 0) | (classes >= len(colours)), len(colours), classes)]


def overlay(
    image: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    opacity: float = 0.5,
    covered: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """The colours (H, W, 3) blended over the image (H, W, 3) uint8.

    Pixels that are not `covered` (H, W) keep the image's colours; None covers all.
    """
    blended = np.empty(image.shape, np.uint8)
    for top in range(0, image.shape[0], BLENDED_ROWS):
        rows = slice(top, top + BLENDED_ROWS)
        blended[rows] = (image[rows] * (1 - opacity) + colours[rows] * opacity).round()
    if covered is not None:
        blended[~covered] = image[~covered]
    return blended


def rgb(colour: str) -> tuple[int, int, int]:
    """RGB, 0 to 255 each, of a colour written as "#rrggbb"."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
