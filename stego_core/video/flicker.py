"""Temporal inconsistency of a video's masks: classes that change where the image does not."""

from dataclasses import astuple, dataclass
from operator import add

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from stego_core.labels.void import VOID_BYTE

BLUR = 5
"""Side of the box that averages colour differences first, pixels: noise is no change."""
STILL = 6.0
"""Greatest averaged difference of a colour channel, of 0 to 255, of a still pixel."""
BAND = 256
"""Rows that are compared at once; bounds memory."""


@dataclass(frozen=True)
class ClassChanges:
    """Classes that change between neighbouring frames; counts add with +.

    Attributes:
        pairs: pairs of frames.
        still: pixels that are still: they hardly change between the two frames.
        changed: still pixels whose class changes.
    """

    pairs: int = 0
    still: int = 0
    changed: int = 0

    def __add__(self, other: "ClassChanges") -> "ClassChanges":
        """Of both."""
        return ClassChanges(*map(add, astuple(self), astuple(other)))

    @property
    def share(self) -> float | None:
        """Share of the still pixels whose class changes, 0 to 1; None without still pixels."""
        return self.changed / self.still if self.still else None


def flicker(
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> ClassChanges:
    """Counts of two neighbouring frames; those of no pair if the two differ in size.

    A pixel is still if the difference of the two images, averaged over BLUR × BLUR pixels around
    it (borders mirrored), is at most STILL of 255 in each channel.

    Args:
        images: two of (H, W, 3) uint8.
        masks: their stored cluster ids (H, W) uint8; merged classes count as different ones. A
            pixel without data (VOID_BYTE) in either is left out.
    """
    if images[0].shape != images[1].shape:
        return ClassChanges()
    still = changed = 0
    height, halo = masks[0].shape[0], BLUR // 2
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        first, last = max(top - halo, 0), min(bottom + halo, height)
        unchanged = np.ones((bottom - top, masks[0].shape[1]), np.bool_)
        for channel in range(3):
            before, after = (image[first:last, :, channel].astype(np.float32) for image in images)
            blurred = uniform_filter(after - before, BLUR)
            unchanged &= np.abs(blurred[top - first : bottom - first]) <= STILL
        unchanged &= (masks[0][top:bottom] != VOID_BYTE) & (masks[1][top:bottom] != VOID_BYTE)
        still += int(unchanged.sum())
        changed += int((masks[0][top:bottom] != masks[1][top:bottom])[unchanged].sum())
    return ClassChanges(1, still, changed)
