"""A video's stored frame as players show it: shape of its pixels, rotation, mirroring."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def shown_size(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """Height and width at which square pixels show a stored frame whose own are not square.

    One side grows, as in players, so that no pixel is lost. `aspect` is the width of a stored pixel
    by its height, 0 or less if unknown.
    """
    if aspect > 1:
        return height, max(round(width * aspect), 1)
    return max(round(height / aspect), 1) if aspect > 0 else height, width


def upright(pixels: NDArray[np.uint8], matrix: Sequence[int]) -> NDArray[np.uint8]:
    """A stored frame (H, W, 3) uint8 turned by quarters and mirrored for display.

    The matrix is a, b, u, c, d, v, x, y, w of an MP4 or MOV track (ISO/IEC 14496-12, 8.3.2): the
    stored pixel (p, q), counted to the right and down, is shown at (a p + c q, b p + d q). An angle
    that is no quarter counts as the nearest one, as far as the two axes go; where all are 0 the
    frame does not change.
    """
    a, b, _, c, d = matrix[:5]
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if turned else (a, d)
    result = pixels.swapaxes(0, 1) if turned else pixels
    return result[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
