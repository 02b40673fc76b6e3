"""An image's patches in their places: features of crops put together, and heat maps of a patch.

Crops are squares (`geometry.square`): of an image that is no square they leave out a strip at each
side, and the four quarters leave out two strips in the middle as well.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.images.geometry import QUARTERS, crop_windows, inner_square


class Patch(NamedTuple):
    """Where a patch lies in its image, in shares of the image's height and width.

    Attributes:
        y, x: its upper left corner, 0 to 1.
        height, width: its sides.
    """

    y: float
    x: float
    height: float
    width: float


@dataclass(frozen=True)
class Axis:
    """Where patches lie along one side of an image, in shares of that side.

    Attributes:
        starts: (n,) float64 where each begins, rising.
        size: length of each.
    """

    starts: NDArray[np.float64]
    size: float

    def nearest(self, positions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Numbers (m,) of the patches at positions (m,), else of those nearest to them."""
        apart = np.abs(self.starts + self.size / 2 - positions[:, None])
        return np.asarray(apart.argmin(axis=1))

    def covers(self, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(m,) whether a patch lies at the positions (m,)."""
        begin = self.starts[self.nearest(positions)]
        rounding = 1e-9
        return (positions >= begin - rounding) & (positions <= begin + self.size + rounding)

    @cached_property
    def even(self) -> NDArray[np.float64]:
        """Centres of cells about as long as a patch that divide the side evenly."""
        count = max(round(1 / self.size), 1)
        return (np.arange(count) + 0.5) / count


class Answer(NamedTuple):
    """A heat map.

    Attributes:
        values: (h, w) float32 in [-1, 1], spread evenly over the image.
        seen: (h, w) bool, whether a patch with data covers this part of the image; elsewhere
            `values` are those of the nearest patch.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class PatchMap:
    """Features (h, w, C) of an image's patches, float16 or float32, and where they lie."""

    features: NDArray[np.floating]
    rows: Axis
    columns: Axis

    @classmethod
    def whole(cls, features: NDArray[np.floating]) -> "PatchMap":
        """Of patches (h, w, C) that divide the image evenly."""
        axes = [Axis(np.arange(n) / n, 1 / n) for n in features.shape[:2]]
        return cls(features, *axes)

    @classmethod
    def stitched(cls, crops: NDArray[np.floating], height: int, width: int) -> "PatchMap":
        """Of patches (n, g, g, C) of the crops of an image, sides in pixels: one, or four of five.

        They are in the order of `geometry.crop_windows`.
        """
        count, grid = crops.shape[:2]
        side = 1 if count == 1 else 2
        rows, columns = crop_axes(height, width, grid, five=count > 1)
        tiled = crops.reshape(side, side, grid, grid, -1).transpose(0, 2, 1, 3, 4)
        return cls(tiled.reshape(side * grid, side * grid, -1), rows, columns)

    @cached_property
    def unit(self) -> NDArray[np.float32]:
        """(h, w, C) features of norm 1."""
        return np.asarray(unit(self.features.astype(np.float32)), np.float32)

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """(h, w) whether a patch covers each part of the image, whatever it holds."""
        return np.asarray(np.outer(*(axis.covers(axis.even) for axis in (self.rows, self.columns))))

    def at(self, y: float, x: float) -> tuple[int, int]:
        """Row and column of the patch at a point, in shares; of the nearest where there is none."""
        row, column = self.rows.nearest(np.array([y])), self.columns.nearest(np.array([x]))
        return int(row[0]), int(column[0])

    def patch(self, row: int, column: int) -> Patch:
        """Position of one of the patches."""
        return _patch(self.rows, self.columns, row, column)

    def answer(self, query: NDArray[np.float32]) -> Answer:
        """Cosines of a query (C,) of norm 1 with the patches."""
        cosines = (self.unit @ query).clip(-1, 1)
        cells = np.ix_(*(axis.nearest(axis.even) for axis in (self.rows, self.columns)))
        seen = self.seen & (self.unit != 0).any(axis=-1)[cells]
        return Answer(np.ascontiguousarray(cosines[cells]), seen)


def crop_patch(height: int, width: int, grid: int, five: bool, crop: int, token: int) -> Patch:
    """Position of a crop's patch in the image; `crop` and `token` are numbers, row by row.

    The other arguments are those of `crop_axes`.
    """
    rows, columns = crop_axes(height, width, grid, five)
    row, column = grid * (crop // 2) + token // grid, grid * (crop % 2) + token % grid
    return _patch(rows, columns, row, column)


def _patch(rows: Axis, columns: Axis, row: int, column: int) -> Patch:
    y, x = float(rows.starts[row]), float(columns.starts[column])
    return Patch(y, x, rows.size, columns.size)


def crop_axes(height: int, width: int, grid: int, five: bool) -> tuple[Axis, Axis]:
    """Rows and columns of the patches of a whole image, or of the four quarters of `five` crops.

    The image's sides are in pixels; a crop has `grid` patches along each side.
    """
    windows = crop_windows(height, width, five)
    corners = [windows[0], windows[QUARTERS - 1]] if five else windows
    square = inner_square(corners[0].height, corners[0].width)
    step = square.height / grid
    offsets = np.arange(grid) * step
    rows = np.concatenate([corner.top + square.top + offsets for corner in corners])
    columns = np.concatenate([corner.left + square.left + offsets for corner in corners])
    return Axis(rows / height, step / height), Axis(columns / width, step / width)
