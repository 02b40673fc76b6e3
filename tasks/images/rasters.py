"""Bands of raster files as GDAL reads them: TIFFs of any layout, 16-bit PNG and JPEG 2000."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from stego_core.errors import ImageError
from stego_core.images.rendering import Block
from tasks.images.photos import HUGE, PNG, TIFFS, tiff_tags
from tasks.images.raster_form import RasterForm

Bands = NDArray[Any]
Mask = NDArray[np.bool_]
SETTINGS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 64,
}
"""GDAL looks for no file beside the bytes, writes none, and keeps little memory."""
BLOCK_VALUES = 4 * 2**20  # values that are in memory at once while a file is read
BLOCK_BYTES = 2**31  # bytes of one of a file's own blocks, at most
SENTINELS = (-9999.0, -99999.0, -999.0, -32768.0, -32767.0, -2147483648.0, -2147483647.0)
"""Numbers that writers put where there is no data, often without saying so."""
SENTINEL_DISTANCE = 0.1
"""They stand for no data where no other value of the file lies within this share of them."""


@contextmanager
def opened(content: bytes, bands: Sequence[int] | None = None) -> Iterator["Raster | None"]:
    """A raster file, as `photos.is_raster` tells, for reading; None if GDAL cannot open it.

    One of GDAL's drivers sees the bytes, in memory: nothing that a file names is followed.

    Raises:
        ImageError: it cannot be read to its end, or has no such bands.
    """
    driver = "GTiff" if content[:4] in TIFFS else "JP2OpenJPEG"
    if content.startswith(PNG):
        driver = "PNG"
    with warnings.catch_warnings(), rasterio.Env(**SETTINGS), MemoryFile(content) as file:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            dataset = file.open(driver=driver)
        except Exception as error:
            if not is_gdal_error(error):
                raise
            yield None
            return
        with dataset:
            try:
                yield Raster(dataset, tiff_tags(content) if driver == "GTiff" else {}, bands)
            except Exception as error:
                if not is_gdal_error(error):
                    raise
                reason = " ".join(str(error.__cause__ or error).split())
                raise ImageError(f"cannot be decoded: {reason}") from None


def is_gdal_error(error: Exception) -> bool:
    """Whether rasterio or GDAL raised it; the classes of GDAL's own errors have no public name."""
    return isinstance(error, RasterioError) or type(error).__name__.startswith("CPLE_")


class Raster(RasterForm):
    """An open raster file's numbers, in blocks of rows."""

    def blocks(self) -> Iterator[Block]:
        """All rows, from the top, as values: scales and offsets applied, palettes as colours.

        Raises:
            ImageError: one of the file's own blocks does not fit any memory.
        """
        for top, bottom in self._spans():
            window = Window(0, top, self.width, bottom - top)
            stored = self._read(window)
            if stored.dtype.kind == "c":
                stored = np.abs(stored)
            valid = self._valid(stored, window)
            alpha = self.dataset.read(self.alpha, window=window) if self.alpha else None
            if self.palette is not None:
                yield self._coloured(top, bottom, stored[0], valid)
            else:
                yield Block(top, bottom, self._scaled(stored), valid, alpha)

    def _read(self, window: Window) -> Bands:
        return np.asarray(self.dataset.read(list(self.shown), window=window))

    def _spans(self) -> list[tuple[int, int]]:
        """First and past-the-last rows of blocks, whole blocks of the file."""
        down, across = self.dataset.block_shapes[0]
        sizes = sum(np.dtype(dtype).itemsize for dtype in self.dataset.dtypes)
        if down * across * sizes > BLOCK_BYTES:
            raise ImageError(
                f"its blocks of {down}×{across} pixels and {self.dataset.count} bands are larger "
                f"than {BLOCK_BYTES >> 30} GiB; store it in tiles"
            )
        row_values = self.width * (len(self.shown) + bool(self.alpha))
        step = max(BLOCK_VALUES // row_values // down, 1) * down
        return list(pairwise([*range(0, self.height, step), self.height]))

    def _scaled(self, stored: Bands) -> Bands:
        if not self.form.scaled:
            return stored
        return np.stack(
            [band * np.float64(a) + b for band, (a, b) in zip(stored, self.scales, strict=True)]
        )

    def _coloured(self, top: int, bottom: int, stored: Bands, valid: Mask | None) -> Block:
        """Indices as their colours; those that the palette does not have are no data."""
        table = self.palette
        assert table is not None
        known = stored < len(table)
        colours = table[np.where(known, stored, 0)]
        known &= colours[..., 3] > 0
        if valid is not None:
            known &= valid
        return Block(top, bottom, colours[..., :3].transpose(2, 0, 1), known)

    def _valid(self, stored: Bands, window: Window) -> Mask | None:
        """Which pixels (h, W) hold data: by masks, by the stated number, and by sentinels."""
        parts: list[Mask] = []
        if self.is_masked:
            masks = self.dataset.read_masks(list(self.shown), window=window)
            parts.append(np.asarray((masks > 0).all(axis=0)))
        if stored.dtype.kind == "f":
            parts.append(np.asarray((np.abs(stored) < HUGE).all(axis=0)))  # not-a-number is not
        if any(number is not None for number in self.stated_missing):
            missing = np.stack([*map(_equal, stored, self.stated_missing)])
            # Of unsigned numbers 0 or the greatest one also occur in single bands as values.
            unsigned = stored.dtype.kind == "u"
            absent = missing.all(axis=0) if unsigned else missing.any(axis=0)
            parts.append(np.asarray(~absent))
        for number in self.sentinels:
            parts.append(np.asarray((stored != number).all(axis=0)))
        return np.asarray(np.logical_and.reduce(parts)) if parts else None

    @cached_property
    def is_masked(self) -> bool:
        """Whether GDAL's masks say more than transparency and the stated number do."""
        flags = self.dataset.mask_flag_enums[self.shown[0] - 1]
        if MaskFlags.nodata in flags:
            return MaskFlags.per_dataset in flags
        return MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags

    @property
    def stated_missing(self) -> list[float | None]:
        """The number that stands for no data in each band shown."""
        return [self.dataset.nodatavals[band - 1] for band in self.shown]

    @cached_property
    def sentinels(self) -> list[float]:
        """Numbers that stand for no data although the file does not say so.

        They lie apart from all other numbers of the file: −9999 among heights above the sea does,
        −999 among densities from −1,024 on does not.
        """
        kind = np.dtype(self.form.dtype).kind
        if kind not in "if" or self.palette is not None:
            return []
        stated = {number for number in self.stated_missing if number is not None}
        candidates = [number for number in SENTINELS if number not in stated]
        present, near = set[float](), set[float]()
        for top, bottom in self._spans():
            stored = self._read(Window(0, top, self.width, bottom - top))
            if not np.fmin.reduce(stored, axis=None) <= max(SENTINELS):
                continue
            others = stored[~np.isin(stored, [*SENTINELS, *stated])]
            for number in candidates:
                low, high = number * (1 + SENTINEL_DISTANCE), number * (1 - SENTINEL_DISTANCE)
                if (stored == number).any():
                    present.add(number)
                if ((others >= low) & (others <= high)).any():
                    near.add(number)
        return [number for number in candidates if number in present - near]


def _equal(band: NDArray[Any], number: float | None) -> Mask:
    """Where a band (h, W) has the number that stands for no data."""
    if number is None or not np.isfinite(number):
        return np.zeros(band.shape, np.bool_)
    with np.errstate(over="ignore"):
        return np.asarray(band == (number if band.dtype.kind in "iu" else band.dtype.type(number)))
