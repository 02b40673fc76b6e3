"""The form of a raster file's numbers, from its metadata: bands, bits, transparency, ranges."""

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
"""Names of bands that become red, green and blue; Sentinel-2 and Landsat 8 number them."""
PHOTOMETRIC = 262  # tag of the meaning of a TIFF's colours
EXTRA_SAMPLES = 338  # tag of the meaning of bands beyond the colours
COMPRESSION = 259  # tag of a TIFF's compression
RANGE_TAGS = ((340, 341), (280, 281))
"""SMinSampleValue and SMaxSampleValue, MinSampleValue and MaxSampleValue."""
COMMON = {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946}
"""Compressions that Pillow's own library always has; it complains on the terminal of others."""
WHITE_IS_ZERO = 0  # PHOTOMETRIC of grey files whose least number is white
COLOUR_SPACES = {5, 6, 8, 9, 10}  # PHOTOMETRIC of CMYK, YCbCr and three kinds of L*a*b*
PREMULTIPLIED = 1  # EXTRA_SAMPLES of files whose colours were multiplied by the transparency
PRIMARY = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
UNSCALED = (1.0, 0.0)  # scale and offset of bands that hold values as they are


class RasterForm:
    """The metadata of an open raster file.

    Attributes:
        dataset: the file.
        tags: of a TIFF's first directory, by number; none of other files.
        bands: the requested ones, from 1; None: as the file says.
    """

    def __init__(
        self, dataset: DatasetReader, tags: dict[int, Any], bands: Sequence[int] | None
    ) -> None:
        """Of an open file; an ImageError if it has no such bands."""
        self.dataset, self.tags, self.bands = dataset, tags, bands
        self.height, self.width = int(dataset.height), int(dataset.width)
        require_bands(dataset.count, bands)

    @cached_property
    def alpha(self) -> int:
        """The band, from 1, that is called transparency; 0 without one, or where it is shown."""
        colours = list(self.dataset.colorinterp)
        if ColorInterp.alpha not in colours or self.dataset.count == 1:
            return 0
        band = colours.index(ColorInterp.alpha) + 1
        return 0 if self.bands and band in self.bands else band

    @cached_property
    def palette(self) -> NDArray[np.uint8] | None:
        """(n, 4) colours of the numbers that the one band holds; None without."""
        if self.bands or self.dataset.colorinterp[0] != ColorInterp.palette:
            return None
        stated = self.dataset.colormap(1)
        table = np.zeros((max(stated) + 1, 4), np.uint8)
        for number, colour in stated.items():
            table[number] = colour
        return table

    @cached_property
    def shown(self) -> tuple[int, ...]:
        """The bands that become red, green and blue, or the one that becomes grey."""
        if self.bands:
            return tuple(self.bands)
        colours = list(self.dataset.colorinterp)
        descriptions = [(name or "").strip().lower() for name in self.dataset.descriptions]
        by_name = [
            next((descriptions.index(name) + 1 for name in names if name in descriptions), 0)
            for names in NAMES.values()
        ]
        if all(by_name):
            return tuple(by_name)
        if all(colour in colours for colour in PRIMARY):
            return tuple(colours.index(colour) + 1 for colour in PRIMARY)
        others = [band for band in range(1, self.dataset.count + 1) if band != self.alpha]
        return tuple(others[:3]) if len(others) >= 3 else (others[0],)

    @cached_property
    def scales(self) -> list[tuple[float, float]]:
        """Scale and offset of each band shown."""
        return [(self.dataset.scales[b - 1], self.dataset.offsets[b - 1]) for b in self.shown]

    @cached_property
    def form(self) -> Form:
        """The form of its numbers, which other files may share."""
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
            certain=bool(self.alpha) and self.dataset.driver != "GTiff",
            premultiplied=bool(self.alpha) and PREMULTIPLIED in extra,
            inverted=self.tags.get(PHOTOMETRIC) == WHITE_IS_ZERO and len(self.shown) == 1,
            scaled=any(pair != UNSCALED for pair in self.scales),
        )

    @property
    def is_ordinary(self) -> bool:
        """Whether every viewer shows it as it is meant: at most eight bits, all of it data."""
        meaning = self.tags.get(PHOTOMETRIC)
        if self.bands or self.tags.get(COMPRESSION, 1) not in COMMON:
            return False
        if meaning in COLOUR_SPACES:
            return True
        return (
            self.dataset.dtypes[0] == "uint8"
            and self.dataset.count in {1, 3}
            and not self.alpha
            and all(pair == UNSCALED for pair in self.scales)
            and all(MaskFlags.all_valid in flags for flags in self.dataset.mask_flag_enums)
            and self.shown in {(1,), (1, 2, 3)}
        )

    @property
    def stated(self) -> ValueRange | None:
        """Least and greatest value as its tags state them; None where they do not."""
        band_tags = self.dataset.tags(self.shown[0])
        pairs = [tuple(map(self.tags.get, numbers)) for numbers in RANGE_TAGS]
        names = ("STATISTICS_MINIMUM", "STATISTICS_MAXIMUM")
        pairs.append(tuple(map(band_tags.get, names)))
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
