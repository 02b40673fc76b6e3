"""Numbers of any kind as an RGB picture, and which of its pixels hold data."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
ValueRange = tuple[float, float]
"""The values that become black and white."""
BYTE: ValueRange = (0.0, 255.0)
"""The range of numbers that are levels already."""
WHITE = 255
"""The level of white."""
LEAST_DATA = 0.5
"""Share of a patch's pixels that must hold data for the patch to count as data."""


class Picture(NamedTuple):
    """An image as the pipeline sees it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB; those without data have the mean colour of the others.
        valid: (H, W) bool, which pixels hold data; None where all do.
    """

    pixels: Levels
    valid: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Form:
    """What the files of one kind have in common.

    Attributes:
        dtype: numpy's name of the numbers' type.
        bits: of a number, as the file states them.
        bands: how many there are.
        shown: the bands, from 1, that become red, green and blue, or the one that becomes grey.
        alpha: the band, from 1, that the file calls transparency; 0 where none is.
        certain: whether the file format guarantees that it is transparency.
        premultiplied: whether colours were multiplied by it.
        inverted: whether the least number is white.
        scaled: whether scales and offsets of the files turn their numbers into values.
    """

    dtype: str
    bits: int
    bands: int
    shown: tuple[int, ...]
    alpha: int = 0
    certain: bool = False
    premultiplied: bool = False
    inverted: bool = False
    scaled: bool = False

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers of at most 16 bits, counted one by one."""
        return self.dtype in {"uint8", "int8", "uint16", "int16"} and not self.scaled

    @property
    def full(self) -> ValueRange | None:
        """What the declared bits can hold; None of floating-point numbers and scaled values."""
        if self.scaled or self.dtype[0] not in "iu":
            return None
        low = 0.0 if self.dtype.startswith("uint") else -(2.0 ** (self.bits - 1))
        return low, low + 2.0**self.bits - 1


ORDINARY = Form("uint8", 8, 3, (1, 2, 3))
"""Pictures that every viewer shows alike: eight bits a channel, whatever the colour model."""


@dataclass(frozen=True)
class Rendering:
    """How the files of a form become pictures.

    Attributes:
        ranges: for each band shown, the values that become black and white.
        alpha: whether the band that is called transparency is that; else it is a band like others.
        how: where the ranges come from, for people.
    """

    form: Form
    ranges: tuple[ValueRange, ...]
    alpha: bool
    how: str

    @property
    def identity(self) -> bool:
        """Whether numbers are levels already."""
        return all(span == BYTE for span in self.ranges) and not self.form.inverted

    def document(self) -> dict[str, Any]:
        """For manifests."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Rendering":
        """Back from `document`, after JSON made lists of its tuples."""
        ranges = tuple((float(low), float(high)) for low, high in document["ranges"])
        return cls(form_of(document["form"]), ranges, bool(document["alpha"]), str(document["how"]))


def form_of(document: dict[str, Any]) -> Form:
    """A form, after JSON made a list of its tuple."""
    return Form(**{**document, "shown": tuple(document["shown"])})


class Block(NamedTuple):
    """Some rows of a picture's numbers.

    Attributes:
        top, bottom: first and past-the-last row.
        values: (bands shown, h, W), of any real type.
        valid: (h, W) bool; None where all hold data.
        alpha: (h, W), of the band that is called transparency; None without.
    """

    top: int
    bottom: int
    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    alpha: NDArray[Any] | None = None


def levels(values: NDArray[Any], span: ValueRange, inverted: bool = False) -> Levels:
    """Values of any shape as levels: black at span[0] and below, white at span[1] and above.

    level = ⌊255 (v − low) / (high − low) + ½⌋, in float64; not-a-number becomes black.
    """
    if values.dtype == np.uint8:
        table = levels(np.arange(256, dtype=np.int64), span, inverted)
        return np.asarray(table[values])
    low, high = span
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    result = np.floor(np.nan_to_num(scaled, nan=0.0).clip(0, 255) + 0.5).astype(np.uint8)
    return WHITE - result if inverted else result


def rendered(
    values: NDArray[Any], rendering: Rendering, opacity: NDArray[np.float32] | None = None
) -> Levels:
    """RGB (h, w, 3) of values (bands shown, h, w): one band is grey, three are red, green, blue.

    Pixels whose opacity (h, w), 0 to 1, is partial show white behind them, as in browsers.
    """
    inverted = rendering.form.inverted
    bands = [levels(*band, inverted) for band in zip(values, rendering.ranges, strict=True)]
    pixels = np.stack(bands * 3 if len(bands) == 1 else bands, axis=-1)
    if opacity is None or not (partly := (opacity > 0) & (opacity < 1)).any():
        return pixels
    share = opacity[partly][:, None]
    colours = pixels[partly].astype(np.float32)
    over = colours if rendering.form.premultiplied else colours * share
    pixels[partly] = np.floor((over + WHITE * (1 - share)).clip(0, WHITE) + 0.5).astype(np.uint8)
    return pixels


def filled(pixels: Levels, valid: NDArray[np.bool_] | None) -> Picture:
    """A picture (H, W, 3) whose pixels that are not `valid` (H, W) have the others' mean colour.

    Black frames and sentinel values would add features and outlines of their own to the data
    beside them.
    """
    if valid is None or valid.all():
        return Picture(pixels)
    result = pixels.copy()
    if valid.any():
        result[~valid] = np.floor(pixels[valid].mean(axis=0, dtype=np.float64) + 0.5)
    return Picture(result, valid)


def patches_with_data(valid: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """(height, width) cells of an even grid over (H, W): does LEAST_DATA of them hold data?"""
    rows, columns = map(_overlaps, valid.shape, (height, width))
    shares = rows @ valid.astype(np.float32) @ columns.T
    return np.asarray(shares >= LEAST_DATA - 1e-4)


def _overlaps(pixels: int, cells: int) -> NDArray[np.float32]:
    """(cells, pixels): the share of each cell that each pixel covers; rows sum to 1."""
    edges = np.arange(cells + 1) * (pixels / cells)
    left = np.arange(pixels)
    covered = np.minimum(edges[1:, None], left + 1) - np.maximum(edges[:-1, None], left)
    return np.asarray(covered.clip(0) * (cells / pixels), np.float32)
