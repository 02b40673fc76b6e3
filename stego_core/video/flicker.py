"""How restless the masks of a video are: classes that change where the image does not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from stego_core.labels.void import VOID_BYTE

BLUR = 5
"""Side of the box over which colour differences are averaged first, pixels: noise is no change."""
STILL = 6.0
"""Greatest blurred difference of a colour channel, of 0 to 255, of a pixel that hardly changes."""
BAND = 256
"""Rows looked at together."""


@dataclass(frozen=True)
class Flicker:
    """Restlessness, added up over pairs of neighbouring frames; pairs add with +.

    Attributes:
        pairs: how many.
        still: pixels that hardly change between the two.
        changed: those of them whose class changes.
    """

    pairs: int = 0
    still: int = 0
    changed: int = 0

    def __add__(self, other: "Flicker") -> "Flicker":
        """Of both."""
        return Flicker(
            self.pairs + other.pairs, self.still + other.still, self.changed + other.changed
        )

    @property
    def share(self) -> float | None:
        """Share, 0 to 1, of the pixels that hardly change whose class does; None without any."""
        return self.changed / self.still if self.still else None


def flicker(
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> Flicker:
    """Of two neighbouring frames.

    A pixel hardly changes if the difference of the two images, averaged over BLUR × BLUR pixels
    around it (borders mirrored), is at most STILL of 255 in each channel.

    Args:
        images: two of (H, W, 3) uint8.
        masks: their stored cluster ids (H, W) uint8; merged classes count as different ones. A
            pixel without data (VOID_BYTE) in either is left out.

    Returns:
        nothing, of no pair, where the two differ in size.
    """
    if images[0].shape != images[1].shape:
        return Flicker()
    still = changed = 0
    height, halo = masks[0].shape[0], BLUR // 2
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        first, last = max(top - halo, 0), min(bottom + halo, height)
        quiet = np.ones((bottom - top, masks[0].shape[1]), np.bool_)
        for channel in range(3):
            before, after = (image[first:last, :, channel].astype(np.float32) for image in images)
            blurred = uniform_filter(after - before, BLUR)
            quiet &= np.abs(blurred[top - first : bottom - first]) <= STILL
        quiet &= (masks[0][top:bottom] != VOID_BYTE) & (masks[1][top:bottom] != VOID_BYTE)
        still += int(quiet.sum())
        changed += int((masks[0][top:bottom] != masks[1][top:bottom])[quiet].sum())
    return Flicker(1, still, changed)
