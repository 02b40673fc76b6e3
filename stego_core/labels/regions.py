"""Parts of a mask that formats of objects hold: a class, or each connected part of it, as runs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stego_core.labels.void import VOID_BYTE


@dataclass(frozen=True)
class Region:
    """Pixels of one class.

    Attributes:
        cls: the class.
        top, left: of its bounding box, pixels.
        mask: (h, w) bool inside the box.
        score: mean margin of its pixels, 0 to 1.
    """

    cls: int
    top: int
    left: int
    mask: NDArray[np.bool_]
    score: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width, height."""
        height, width = self.mask.shape
        return self.left, self.top, width, height

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())


def regions(
    ids: NDArray[np.uint8], margins: NDArray[np.uint8], connected: bool, least: int = 1
) -> Iterator[Region]:
    """Every class of a mask in order of its id, VOID_BYTE left out.

    Args:
        ids: (H, W) classes.
        margins: (H, W) of 255, how sure each pixel is.
        connected: whether parts of a class that do not touch, corners left out, are regions of
            their own.
        least: pixels of a region; smaller ones are left out.
    """
    found = _parts(ids, margins) if connected else _whole(ids, margins)
    return (region for region in found if region.area >= least)


def _whole(ids: NDArray[np.uint8], margins: NDArray[np.uint8]) -> Iterator[Region]:
    for cls, box in _boxes(ids):
        yield _region(cls, box, ids[box] == cls, margins)


def _parts(ids: NDArray[np.uint8], margins: NDArray[np.uint8]) -> Iterator[Region]:
    for cls, (rows, columns) in _boxes(ids):
        parts, _ = ndimage.label(ids[rows, columns] == cls)
        for number, (down, across) in enumerate(ndimage.find_objects(parts), start=1):
            place = (
                slice(rows.start + down.start, rows.start + down.stop),
                slice(columns.start + across.start, columns.start + across.stop),
            )
            yield _region(cls, place, parts[down, across] == number, margins)


def _boxes(ids: NDArray[np.uint8]) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """The bounding box of every class that is there, VOID_BYTE left out."""
    for cls, box in enumerate(ndimage.find_objects(ids.astype(np.int32) + 1)):
        if box is not None and cls != VOID_BYTE:
            yield cls, box


def _region(
    cls: int, box: tuple[slice, slice], mask: NDArray[np.bool_], margins: NDArray[np.uint8]
) -> Region:
    score = float(margins[box][mask].mean(dtype=np.float64) / 255)
    return Region(cls, box[0].start, box[1].start, mask, score)


def numbered(ids: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Connected parts of every class, corners left out.

    Returns:
        (H, W) int32, the number of each pixel's part from 1, 0 for VOID; and (N + 1,) uint8, the
        class of each number, VOID_BYTE first.
    """
    parts, classes = np.zeros(ids.shape, np.int32), [np.array([VOID_BYTE], np.uint8)]
    count = 0
    for cls in np.unique(ids[ids != VOID_BYTE]):
        own = ids == cls
        found, more = ndimage.label(own)
        parts[own] = found[own] + count
        classes.append(np.full(more, cls, np.uint8))
        count += more
    return parts, np.concatenate(classes)


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs, row by row, of pixels outside and inside in turn; outside comes first."""
    return _lengths(_edges(mask), mask.size)


def runs_by_columns(region: Region, height: int, width: int) -> list[int]:
    """Lengths of runs of a whole image's pixels, column by column, outside first: COCO's order.

    Costs what the region's own box costs, however large the image is.
    """
    edges = _edges(np.pad(region.mask, ((0, 1), (0, 0))).T)  # no run goes from column to column
    column, row = np.divmod(edges, region.mask.shape[0] + 1)
    return _lengths((region.left + column) * height + region.top + row, height * width)


def _edges(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Positions in C order where outside and inside change; outside comes before the first."""
    flat = np.concatenate([[False], mask.ravel(), [False]])
    return np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int64)


def _lengths(edges: NDArray[np.int64], total: int) -> list[int]:
    """Lengths between edges; an end that is the next run's beginning is no edge."""
    touching = np.flatnonzero(edges[1:-1:2] == edges[2::2])
    kept = np.delete(edges, np.concatenate([2 * touching + 1, 2 * touching + 2]))
    lengths = np.diff(kept, prepend=0, append=total)
    return [int(length) for length in (lengths if lengths[-1] else lengths[:-1])]
