"""How the numbers of an image file become an RGB picture: decided here alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.rendering import (
    ORDINARY,
    Block,
    Form,
    Picture,
    Rendering,
    ValueRange,
    filled,
    rendered,
)
from tasks.images import image_codecs, photos

PIXELS_AT_ONCE = 2**20  # pixels of a block of a decoded picture


class Source(NamedTuple):
    """An image file open for reading."""

    form: Form  # of its numbers
    height: int  # as stored
    width: int
    orientation: int  # EXIF's, which is still to be applied
    stated: ValueRange | None  # least and greatest value by its metadata; None where they lack
    one_unit: bool  # whether its bands are of one unit
    blocks: Callable[[], Iterator[Block]]  # its numbers, from the top
    ordinary: Picture | None = None
    """Of a file whose numbers are levels already: decoded, orientation applied; transparent pixels
    are no data. None of other files."""

    @property
    def displayed(self) -> image_codecs.Size:
        """Height and width with its orientation applied."""
        size = image_codecs.Size(self.height, self.width)
        return image_codecs.Size(*size[::-1]) if self.orientation in image_codecs.ON_SIDE else size


@contextmanager
def opened(
    content: bytes, max_pixels: int, bands: Sequence[int] | None = None, upright: bool = True
) -> Iterator[Source]:
    """An image file of any kind, of whose bands some are shown, from 1, or those it names itself.

    Pillow reads ordinary pictures, so that they look as in other programs. GDAL reads files that
    Pillow would misread (more than eight bits, more bands, no data) or cannot read.

    Raises:
        ImageError: it is no image, damaged, empty, too large, or lacks such bands.
    """
    if not photos.is_raster(content):
        yield _photo(content, max_pixels, bands, upright)
        return
    from tasks.images import rasters  # GDAL takes a while to load, and most corpora need none

    with rasters.opened(content, bands) as raster:
        if raster is None:
            yield _photo(content, max_pixels, bands, upright)
            return
        image_codecs.require_size(raster.width, raster.height, max_pixels)
        if raster.is_ordinary:
            try:
                source = _photo(content, max_pixels, bands, upright)
            except ImageError:
                pass  # laid out in a way that Pillow does not know
            else:
                yield source
                return
        turn = photos.tiff_orientation(raster.tags) if upright else 1
        size = raster.height, raster.width
        yield Source(raster.form, *size, turn, raster.stated, raster.one_unit, raster.blocks)


def _photo(content: bytes, max_pixels: int, bands: Sequence[int] | None, upright: bool) -> Source:
    form, values, valid = photos.decoded(content, max_pixels, bands, upright)
    _, height, width = values.shape
    ordinary = Picture(values.transpose(1, 2, 0), valid) if form == ORDINARY else None
    step = max(PIXELS_AT_ONCE // width, 1)

    def blocks() -> Iterator[Block]:
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            yield Block(top, rows.stop, values[:, rows], None if valid is None else valid[rows])

    return Source(form, height, width, 1, None, True, blocks, ordinary)


def stored(content: bytes, max_pixels: int) -> image_codecs.EncodedImage:
    """As `image_codecs.stored`, also of a TIFF that Pillow cannot read."""
    if content[:4] not in photos.TIFFS:
        return image_codecs.stored(content, max_pixels)
    return image_codecs.EncodedImage("TIFF", photos.tiff_orientation(photos.tiff_tags(content)))


@dataclass(frozen=True)
class Renderer:
    """Turns the files of a dump into pictures, as its corpus decided."""

    renderings: tuple[Rendering, ...]  # of each form of its files
    bands: tuple[int, ...] | None = None  # the option `--bands`; None: as the files say

    def of(self, form: Form) -> Rendering | None:
        """How files of a form are rendered; None of an unknown one."""
        return next((r for r in self.renderings if r.form == form), None)

    def picture(self, content: bytes, max_pixels: int, upright: bool = True) -> Picture:
        """An image file as RGB, as displayed.

        Raises:
            ImageError: it cannot be read, none of its pixels holds data, or its numbers are of a
                form that the corpus does not have.
        """
        with opened(content, max_pixels, self.bands, upright) as source:
            rendering = self.of(source.form)
            if rendering is None:
                raise ImageError(
                    f"its numbers ({describe(source.form)}) are of a kind that the corpus does "
                    "not have; index such images as a dump"
                )
            return render(source, rendering)


def render(source: Source, rendering: Rendering) -> Picture:
    """An open file as RGB; an ImageError if damaged, or none of its pixels holds data."""
    if source.ordinary is not None and rendering.identity:
        if source.ordinary.valid is not None and not source.ordinary.valid.any():
            raise ImageError("none of its pixels holds data")
        return filled(np.ascontiguousarray(source.ordinary.pixels), source.ordinary.valid)
    pixels = np.empty((source.height, source.width, 3), np.uint8)
    valid = np.ones((source.height, source.width), np.bool_)
    for block in source.blocks():
        rows, shares = slice(block.top, block.bottom), None
        if block.alpha is not None and rendering.alpha:
            shares = opacity(block.alpha)
            valid[rows] &= shares > 0
        if block.valid is not None:
            valid[rows] &= block.valid
        pixels[rows] = rendered(block.values, rendering, shares)
    if not valid.any():
        raise ImageError("none of its pixels holds data")
    return filled(
        np.ascontiguousarray(image_codecs.upright(pixels, source.orientation)),
        None if valid.all() else image_codecs.upright(valid, source.orientation),
    )


def opacity(alpha: NDArray[Any]) -> NDArray[np.float32]:
    """Transparency as stored, as opacity in [0, 1]."""
    full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1.0
    return (alpha / np.float64(full)).astype(np.float32)


def describe(form: Form) -> str:
    """A form in a few words."""
    bits = "" if form.bits == 8 * np.dtype(form.dtype).itemsize else f" of {form.bits} bits"
    return f"{form.dtype}{bits}, {form.bands} band{'s' * (form.bands != 1)}"
