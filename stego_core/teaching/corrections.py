"""Points that stand for what somebody corrected in a mask."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from stego_core.labels.void import VOID
from stego_core.teaching.patch_graph import Rows

CELLS = 28
"""An image's short side has so many cells, each about as large as a patch."""
SHALLOW = 0.25
"""A pixel stands for its surroundings if this share of a cell, or more, lies between it and the
border of its region: half a patch is a stroke's width, and less may be how an edge was drawn."""
MOST_POINTS = 32
"""Points of one region, at most."""
MIDDLE = 1e-6
"""Pixels of depth that a pixel nearer to its cell's middle is worth: it decides between equals."""


class CorrectedPoint(NamedTuple):
    """A pixel, row `y` and column `x`, and the class that it was corrected to."""

    y: int
    x: int
    cls: int


def corrected_points(before: NDArray[np.int64], after: NDArray[np.int64]) -> list[CorrectedPoint]:
    """Points of each connected region that was given another class.

    Of each region they are the innermost pixels of the cells that it covers, off its border; of two
    within half a cell the inner one. Of more than `MOST_POINTS` so many are taken, spread evenly;
    a region that is all border has one.

    Args:
        before, after: (H, W) classes of the same meaning, −1 for none; pixels that have none after
            the correction say nothing.
    """
    changed = (after != VOID) & (after != before)
    cell = max(min(after.shape) // CELLS, 1)
    points = list[CorrectedPoint]()
    for cls in np.unique(after[changed]).tolist():
        parts, _ = ndimage.label(changed & (after == cls))
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            inside = np.pad(parts[box] == number, 1)
            depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
            top, left = box[0].start, box[1].start
            places = _places(depth, top, left, cell)
            points += [CorrectedPoint(top + y, left + x, cls) for y, x in places]
    return points


def _places(
    depth: NDArray[np.float64], top: int, left: int, cell: int
) -> Iterator[tuple[int, int]]:
    """Rows and columns of points in a region's box at (top, left), of pixels so deep inside it."""
    deep = np.where(depth < max(SHALLOW * cell, 1), 0, depth)
    if deep.any():
        found = _innermost(deep, top % cell, left % cell, cell)
    else:
        ties = np.argwhere(depth == depth.max())
        found = ties[len(ties) // 2, None]
    close = KDTree(found).query_pairs(cell / 2, p=np.inf, output_type="ndarray")
    kept = np.ones(len(found), np.bool_)
    for inner, outer in sorted(close.tolist()):  # the deepest come first
        kept[outer] &= not kept[inner]
    places = found[kept]
    if len(places) > MOST_POINTS:
        places = places[np.lexsort(places.T[::-1])]
        places = places[np.linspace(0, len(places) - 1, MOST_POINTS).astype(int)]
    yield from map(tuple, places.tolist())


def _innermost(depth: NDArray[np.float64], above: int, before: int, cell: int) -> Rows:
    """(n, 2) of each cell with a depth its deepest pixel, near its middle; deepest pixels first.

    Args:
        depth: (h, w), 0 for no pixel of the region.
        above, before: rows and columns of the first cells that lie outside.
    """
    height, width = depth.shape
    sides = ((above, -(above + height) % cell), (before, -(before + width) % cell))
    padded = np.pad(depth, sides)
    across = padded.shape[1] // cell
    cells = padded.reshape(-1, cell, across, cell).swapaxes(1, 2).reshape(-1, cell * cell)
    off_middle = np.abs(np.arange(cell) - cell // 2)
    least = (off_middle[:, None] + off_middle).ravel() * MIDDLE
    pixels = (cells - least).argmax(axis=1)
    numbers = np.arange(len(cells))
    deepest = cells[numbers, pixels]
    order = np.argsort(-deepest, kind="stable")[: np.count_nonzero(deepest)]
    corners = np.column_stack(np.divmod(numbers, across)) * cell - (above, before)
    within = np.column_stack(np.divmod(pixels, cell))
    return np.asarray((corners + within)[order], np.int64)
