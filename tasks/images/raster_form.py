"""What the metadata of a raster file say of its numbers: bands, bits, transparency, ranges."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from stego_core.images.rendering import ORDINARY, Form, ValueRange
from tasks.images.photos import require_bands

NAMES = {
    "red": ("red", "r", "b04", "b4"),
    "green": ("green", "g", "b03", "b3"),
    "blue": ("blue", "b", "b02", "b2"),
}
"""What bands are called that become red, green and blue: by name, or as Sentinel-2 and Landsat 8
number them."""
PHOTOMETRIC, EXTRA_SAMPLES = 262, 338
RANGE_TAGS = ((340, 341), (280, 281))
"""SMinSampleValue and SMaxSampleValue, MinSampleValue and MaxSampleValue."""
COMPRESSION = 259
COMMON = {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946}
"""Compressions that Pillow's own library always has; it complains on the terminal of others."""
WHITE_IS_ZERO, SEPARATED, YCBCR, LAB = 0, 5, 6, (8, 9, 10)
ASSOCIATED = 1
"""Of ExtraSamples: colours were multiplied by the transparency."""


class RasterForm:
    """What an open raster file says of itself.

    Attributes:
        dataset: the file.
        tags: of a TIFF's first directory, by number; none of other files.
        is_tiff: whether it is one.
        wanted: bands that were asked for, from 1; None: as the file says.
    """

    def __init__(
        self,
        dataset: DatasetReader,
        tags: dict[int, Any],
        is_tiff: bool,
        wanted: Sequence[int] | None,
    ) -> None:
        """Of an open file.

        Raises:
            ImageError: it has no such bands.
        """
        self.dataset, self.tags, self.is_tiff, self.wanted = dataset, tags, is_tiff, wanted
        require_bands(dataset.count, wanted)

    @cached_property
    def alpha(self) -> int:
        """The band, from 1, that is called transparency; 0 without one, or where it is shown."""
        called = [i for i, c in enumerate(self.dataset.colorinterp, 1) if c == ColorInterp.alpha]
        band = called[0] if called and self.dataset.count > 1 else 0
        return 0 if self.wanted and band in self.wanted else band

    @cached_property
    def palette(self) -> NDArray[np.uint8] | None:
        """(n, 4) colours of the numbers that the one band holds; None without."""
        if self.wanted or self.dataset.colorinterp[0] != ColorInterp.palette:
            return None
        stated = self.dataset.colormap(1)
        table = np.zeros((max(stated) + 1, 4), np.uint8)
        for number, colour in stated.items():
            table[number] = colour
        return table

    @cached_property
    def shown(self) -> tuple[int, ...]:
        """The bands that become red, green and blue, or the one that becomes grey."""
        if self.wanted:
            return tuple(self.wanted)
        colours = list(self.dataset.colorinterp)
        primary = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        called = [(name or "").strip().lower() for name in self.dataset.descriptions]
        named = [
            next((called.index(name) + 1 for name in names if name in called), 0)
            for names in NAMES.values()
        ]
        if all(named):
            return tuple(named)
        if all(colour in colours for colour in primary):
            return tuple(colours.index(colour) + 1 for colour in primary)
        left = [band for band in range(1, self.dataset.count + 1) if band != self.alpha]
        return tuple(left[:3]) if len(left) >= 3 else (left[0],)

    @cached_property
    def scales(self) -> list[tuple[float, float]]:
        """Scale and offset of each band shown."""
        return [(self.dataset.scales[b - 1], self.dataset.offsets[b - 1]) for b in self.shown]

    @cached_property
    def form(self) -> Form:
        """What it has in common with others."""
        if self.palette is not None:
            return ORDINARY
        dtype = str(np.result_type(*(np.dtype(self.dataset.dtypes[b - 1]) for b in self.shown)))
        stated = self.dataset.tags(self.shown[0], ns="IMAGE_STRUCTURE").get("NBITS")
        size = 8 * np.dtype(dtype).itemsize
        extra = np.atleast_1d(self.tags.get(EXTRA_SAMPLES, 0))
        return Form(
            dtype,
            int(stated) if stated and np.dtype(dtype).kind in "iu" else size,
            self.dataset.count,
            self.shown,
            self.alpha,
            certain=bool(self.alpha) and not self.is_tiff,
            premultiplied=bool(self.alpha) and ASSOCIATED in extra,
            inverted=self.tags.get(PHOTOMETRIC) == WHITE_IS_ZERO and len(self.shown) == 1,
            scaled=any(pair != (1.0, 0.0) for pair in self.scales),
        )

    @property
    def is_ordinary(self) -> bool:
        """Whether every viewer shows it as it is meant: at most eight bits, all of it data."""
        meaning = self.tags.get(PHOTOMETRIC)
        if self.wanted or self.tags.get(COMPRESSION, 1) not in COMMON:
            return False
        if meaning in {SEPARATED, YCBCR, *LAB}:
            return True
        return (
            self.dataset.dtypes[0] == "uint8"
            and self.dataset.count in {1, 3}
            and not self.alpha
            and all(pair == (1.0, 0.0) for pair in self.scales)
            and all(MaskFlags.all_valid in flags for flags in self.dataset.mask_flag_enums)
            and self.shown in {(1,), (1, 2, 3)}
        )

    @property
    def stated(self) -> ValueRange | None:
        """Least and greatest value as its tags state them; None where they do not."""
        own = self.dataset.tags(self.shown[0])
        pairs = [tuple(map(self.tags.get, numbers)) for numbers in RANGE_TAGS]
        pairs.append((own.get("STATISTICS_MINIMUM"), own.get("STATISTICS_MAXIMUM")))
        scale, offset = self.scales[0]
        for low, high in pairs:
            if low is None or high is None:
                continue
            try:
                ends = np.min(np.asarray(low, np.float64)), np.max(np.asarray(high, np.float64))
            except ValueError:
                continue
            least, greatest = sorted(float(end) * scale + offset for end in ends)
            if np.isfinite([least, greatest]).all() and least < greatest:
                return least, greatest
        return None

    @property
    def one_unit(self) -> bool:
        """Whether all bands shown are measured in the same unit."""
        return len({self.dataset.units[band - 1] for band in self.shown}) == 1
