"""Crops and sizes of images, overlapping windows, and the mean of what windows hold."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import OptionError
from stego_core.images.rendering import patches_with_data

MAX_ASPECT = 8
"""Long side over short side above which an image decides how much it is enlarged."""


class Window(NamedTuple):
    """A rectangle of a larger array: rows top..bottom, columns left..right, ends exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def sized(cls, top: int, left: int, height: int, width: int) -> "Window":
        """The window whose upper left corner is (top, left)."""
        return cls(top, left, top + height, left + width)

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the window in a (H, W, ...) array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def overlap(self, other: "Window") -> "Window":
        """What both cover; of height or width 0 or less where they are apart."""
        upper, lower = map(max, self[:2], other[:2]), map(min, self[2:], other[2:])
        return Window(*upper, *lower)

    def meets(self, other: "Window") -> bool:
        """Whether there is anything that both cover."""
        both = self.overlap(other)
        return min(both.height, both.width) > 0


def require_patches(option: str, length: int, patch: int, least: int = 1) -> None:
    """Check that an option's length is a whole number of patches, both in pixels.

    Raises:
        OptionError: it is not; names the nearest lengths that are, from `least` on.
    """
    if length % patch:
        below = length // patch * patch
        near = [str(good) for good in (below, below + patch) if good >= least]
        raise OptionError(
            f"{option} {length} is not a multiple of the backbone's patch of {patch} pixels; "
            f"use {' or '.join(near)}"
        )


QUARTERS = 4
"""Crops of five that tile the image; the fifth, its centre, lies within the others."""


def crop_windows(height: int, width: int, five: bool) -> list[Window]:
    """The whole image; or four corners and the centre, each side half the image's, 1 or more."""
    if not five:
        return [Window(0, 0, height, width)]
    h, w = max(height // 2, 1), max(width // 2, 1)
    down, across = height - h, width - w
    corners = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
    return [Window.sized(top, left, h, w) for top, left in corners]


def inner_square(height: int, width: int) -> Window:
    """The largest central square of an array."""
    side = min(height, width)
    return Window.sized((height - side) // 2, (width - side) // 2, side, side)


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resample (H, W, 3) uint8 to (height, width, 3), bilinear with antialiasing."""
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def square(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Short side resized to `side`, then the centre: (H, W, 3) uint8 to (side, side, 3).

    The centre is cut before resampling, so a 1×2000 image costs no more than a square one.
    """
    return resize(image[inner_square(*image.shape[:2]).slices], side, side)


def square_labels(labels: NDArray[np.integer], side: int) -> NDArray[np.integer]:
    """The same crop as `square` for (H, W) class ids, by nearest neighbour (pixel centres)."""
    cropped = labels[inner_square(*labels.shape).slices]
    nearest = ((np.arange(side) + 0.5) * len(cropped) / side).astype(np.intp)
    return np.asarray(cropped[np.ix_(nearest, nearest)])


def training_crops(image: NDArray[np.uint8], side: int, five: bool) -> NDArray[np.uint8]:
    """The crops that features are taken from: (5 or 1, side, side, 3) uint8.

    Five-crop as in STEGO: four corners and the centre at half the image's sides, each resized
    by its short side and centre-cropped; `five=False` takes the whole image instead.
    """
    windows = crop_windows(image.shape[0], image.shape[1], five)
    return np.stack([square(image[window.slices], side) for window in windows])


def crops_with_data(valid: NDArray[np.bool_], grid: int, five: bool) -> NDArray[np.bool_]:
    """(5 or 1, grid, grid) which patches of an image's `training_crops` hold data, from (H, W)."""
    crops = [valid[window.slices] for window in crop_windows(valid.shape[0], valid.shape[1], five)]
    squares = [crop[inner_square(*crop.shape).slices] for crop in crops]
    return np.stack([patches_with_data(square, grid, grid) for square in squares])


def inference_size(height: int, width: int, short: int, patch: int) -> tuple[int, int]:
    """Size at which an image is read: short side `short`, both sides multiples of `patch`.

    The long side is at most `MAX_ASPECT * short`, the short side at least one patch: a 1×2000
    image would otherwise be enlarged to 320×640,000.
    """
    scale = min(short / min(height, width), MAX_ASPECT * short / max(height, width))
    return (
        max(round(height * scale / patch), 1) * patch,
        max(round(width * scale / patch), 1) * patch,
    )


def cuts(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """First and past-the-last cell of the fewest parts of at most `tile` that cover 0..length.

    They are evenly spread, alike, and as short as can be: neighbours share `overlap` cells, or a
    few more.

    Raises:
        OptionError: the overlap is not smaller than the tile.
    """
    if not 0 <= overlap < tile:
        raise OptionError(f"overlap {overlap} must be at least 0 and smaller than the tile {tile}")
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    side = -(-(length + (count - 1) * overlap) // count)
    starts = [round(i * (length - side) / (count - 1)) for i in range(count)]
    return [(start, start + side) for start in starts]


def windows(height: int, width: int, tile: int, overlap: int) -> list[Window]:
    """Overlapping windows of at most tile × tile that cover a height × width array."""
    return [
        Window(top, left, bottom, right)
        for top, bottom in cuts(height, tile, overlap)
        for left, right in cuts(width, tile, overlap)
    ]


def cores(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """A partition of 0..length: neighbouring cores meet in the middle of what two `cuts` share."""
    parts = cuts(length, tile, overlap)
    borders = [0, *((a[1] + b[0]) // 2 for a, b in pairwise(parts)), length]
    return list(pairwise(borders))


def ramp(length: int, overlap: int) -> NDArray[np.float32]:
    """Weights that rise linearly over `overlap` cells at both ends and are 1 between."""
    rise = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1.0
    return np.minimum(rise / (overlap + 1), 1.0).astype(np.float32)


class Blend:
    """Weighted mean of overlapping windows, the inverse of `windows`.

    A window's weight rises from its border over `overlap` cells.
    """

    def __init__(self, height: int, width: int, depth: int, overlap: int) -> None:
        """An empty blend of a (height, width, depth) array."""
        self.total = np.zeros((height, width, depth), np.float32)
        self.weight = np.zeros((height, width, 1), np.float32)
        self.overlap = overlap

    def add(self, window: Window, values: NDArray[np.float32]) -> None:
        """Add the (h, w, D) values of one window."""
        weight = np.outer(ramp(window.height, self.overlap), ramp(window.width, self.overlap))
        self.total[window.slices] += values * weight[..., None]
        self.weight[window.slices] += weight[..., None]

    def result(self) -> NDArray[np.float32]:
        """The (H, W, D) float32 weighted mean."""
        return self.total / self.weight
