"""Points that stand for what somebody corrected in a mask."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stego_core.labels.void import VOID

SPACING = 28
"""Points of a region are as far apart as fit so many times along the image's short side: about one
for each patch."""
MOST_POINTS = 32
"""Points of one region, at most."""


class CorrectedPoint(NamedTuple):
    """A pixel, row `y` and column `x`, and the class that it was corrected to."""

    y: int
    x: int
    cls: int


def corrected_points(before: NDArray[np.int64], after: NDArray[np.int64]) -> list[CorrectedPoint]:
    """Points of each connected region that was given another class.

    Every region has its innermost point, and of those on a lattice the ones that lie within it and
    off its border, at most `MOST_POINTS` of them, spread evenly.

    Args:
        before, after: (H, W) classes of the same meaning, −1 for none; pixels that have none after
            the correction say nothing.
    """
    changed = (after != VOID) & (after != before)
    step = max(min(after.shape) // SPACING, 1)
    points = list[CorrectedPoint]()
    for cls in np.unique(after[changed]).tolist():
        parts, _ = ndimage.label(changed & (after == cls))
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            inside = np.pad(parts[box] == number, 1)
            depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
            top, left = box[0].start, box[1].start
            places = _places(depth, top, left, step)
            points += [CorrectedPoint(top + y, left + x, cls) for y, x in places]
    return points


def _places(
    depth: NDArray[np.float64], top: int, left: int, step: int
) -> Iterator[tuple[int, int]]:
    """Rows and columns in a region's box, of pixels so deep inside it."""
    innermost = np.unravel_index(int(depth.argmax()), depth.shape)
    yield int(innermost[0]), int(innermost[1])
    rows, columns = np.nonzero(depth >= max(step / 2, 1))
    on_lattice = ((rows + top) % step == step // 2) & ((columns + left) % step == step // 2)
    places = np.column_stack([rows, columns])[on_lattice]
    places = places[(places != innermost).any(axis=1)]
    if len(places) >= MOST_POINTS:
        places = places[np.linspace(0, len(places) - 1, MOST_POINTS - 1).astype(int)]
    yield from map(tuple, places.tolist())
