"""Regions of a mask, as formats of objects hold them: a class, or each connected part of it."""

from collections.abc import Iterator, Sequence
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
    """Regions of a mask in order of their class, without VOID_BYTE.

    Args:
        ids: (H, W) classes.
        margins: (H, W) of 255, how sure each pixel is.
        connected: whether each connected part of a class is a region, else the whole class is;
            pixels that touch at a corner alone are not connected.
        least: pixels of the smallest region.
    """
    for cls, class_box in enumerate(ndimage.find_objects(ids.astype(np.int32) + 1)):
        if class_box is None or cls == VOID_BYTE:
            continue
        inside = ids[class_box] == cls
        parts = ndimage.label(inside)[0] if connected else inside.astype(np.int32)
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            mask = parts[box] == number
            if mask.sum() >= least:
                score = float(margins[class_box][box][mask].mean(dtype=np.float64) / 255)
                top, left = (a.start + b.start for a, b in zip(class_box, box, strict=True))
                yield Region(cls, top, left, mask, score)


def numbered(ids: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Connected parts of every class, corners left out.

    Returns:
        (H, W) int32, the number of each pixel's part from 1, 0 for VOID_BYTE; and (N + 1,) uint8,
        the class of each number, VOID_BYTE first.
    """
    numbers, classes = np.zeros(ids.shape, np.int32), [VOID_BYTE]
    for cls in np.unique(ids[ids != VOID_BYTE]):
        inside = ids == cls
        parts, count = ndimage.label(inside)
        numbers[inside] = parts[inside] + len(classes) - 1
        classes += [cls] * count
    return numbers, np.array(classes, np.uint8)


def runs(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs, row by row, of pixels outside and inside in turn; outside comes first."""
    return _run_lengths(_edges(mask), mask.size)


def of_runs(lengths: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """The mask (height, width) of some `runs`; a ValueError where they are not as many pixels."""
    if min(lengths) < 0 or sum(lengths) != height * width:
        raise ValueError(f"{sum(lengths)} pixels in runs, expected {height}×{width}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)


def runs_by_columns(region: Region, height: int, width: int) -> list[int]:
    """Lengths of runs of a whole image's pixels, column by column, outside first: COCO's order.

    The cost depends on the region's box alone, however large the image is.
    """
    edges = _edges(np.pad(region.mask, ((0, 1), (0, 0))).T)  # no run goes from column to column
    column, row = np.divmod(edges, region.mask.shape[0] + 1)
    return _run_lengths((region.left + column) * height + region.top + row, height * width)


def _edges(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Positions in C order where outside and inside change; outside comes before the first."""
    return np.flatnonzero(np.diff(mask.ravel(), prepend=False, append=False)).astype(np.int64)


def _run_lengths(edges: NDArray[np.int64], total: int) -> list[int]:
    """Lengths of the runs between rising edges, which alternate between begin and end.

    Where one run ends and the next one begins at the same position, the two are one run.
    """
    positions, counts = np.unique(edges, return_counts=True)
    lengths: list[int] = np.diff(positions[counts == 1], prepend=0, append=total).tolist()
    return lengths if lengths[-1] else lengths[:-1]
