"""Pictures of eight bits a channel, and grey ones of more, as Pillow reads them."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from stego_core.errors import ImageError
from stego_core.images.rendering import ORDINARY, Form
from tasks.images import image_codecs

TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of TIFFs
PNG = b"\x89PNG\r\n\x1a\n"  # first bytes of PNGs
JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")  # first bytes of JPEG 2000 files
HUGE = 1e20  # no measured value is as large; writers put such numbers where there is no data
DEEP = {
    "I;16": "uint16",
    "I;16L": "uint16",
    "I;16B": "uint16",
    "I": "uint16",  # of PGM, whose numbers Pillow brings to the full scale of 16 bits
    "F": "float32",
}
"""Type of the numbers of modes that hold more than eight bits."""


def decoded(
    content: bytes, max_pixels: int, bands: Sequence[int] | None = None, upright: bool = True
) -> tuple[Form, NDArray[Any], NDArray[np.bool_] | None]:
    """The numbers of an image file: of all its bands, or of those to show, from 1.

    Wholly transparent pixels are no data, partly transparent ones show white behind them.

    Returns:
        their form; the numbers (bands, H, W); and which pixels (H, W) hold data, None: all.

    Raises:
        ImageError: it is no image, truncated, empty, too large, or lacks such bands.
    """
    with image_codecs.opened(content, max_pixels) as image:
        image.load()
        if upright:
            ImageOps.exif_transpose(image, in_place=True)  # a copy less of a large image
        if image.mode in DEEP:
            require_bands(1, bands)
            return _deep_numbers(image)
        pixels, valid = np.asarray(image_codecs.to_rgb(image)), opaque(image)
        form = ORDINARY
        if bands is not None:
            count = 1 if image.mode in {"1", "L", "LA", "La"} else 3
            require_bands(count, bands)
            pixels = pixels[..., [band - 1 for band in bands]]
            form = Form("uint8", 8, count, tuple(bands))
        return form, pixels.transpose(2, 0, 1), valid


def _deep_numbers(image: Image.Image) -> tuple[Form, NDArray[Any], NDArray[np.bool_] | None]:
    values, dtype = np.asarray(image)[None], DEEP[image.mode]
    if dtype == "float32":
        return Form(dtype, 32, 1, (1,)), values, np.abs(values[0]) < HUGE
    return Form(dtype, 16, 1, (1,)), values.clip(0, 65535).astype(np.uint16), None


def opaque(image: Image.Image) -> NDArray[np.bool_] | None:
    """Which pixels (H, W) are not wholly transparent; None if none is."""
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return None if alpha.all() else alpha > 0


def require_bands(count: int, requested: Sequence[int] | None) -> None:
    """Raise an ImageError for a file that lacks requested bands."""
    if requested and max(requested) > count:
        has = "1 band" if count == 1 else f"{count} bands"
        raise ImageError(f"it has {has}; --bands {','.join(map(str, requested))} asks for more")


def is_raster(content: bytes) -> bool:
    """Whether GDAL should look at these bytes: a TIFF, a JPEG 2000, or a PNG of sixteen bits."""
    if content[:4] in TIFFS or content.startswith(JPEG2000):
        return True
    return content.startswith(PNG) and content[12:16] == b"IHDR" and content[24:25] == b"\x10"


def tiff_tags(content: bytes) -> dict[int, Any]:
    """Tags of a TIFF's first directory by number; none where it is damaged."""
    try:
        big = content[2:3] == b"+" or content[3:4] == b"+"
        directory = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if big else 8])
        file = io.BytesIO(content)
        file.seek(directory.next)
        directory.load(file)
        return {number: directory[number] for number in directory}
    except Exception:  # GDAL reads files whose layout is unusual
        return {}


def tiff_orientation(tags: dict[int, Any]) -> int:
    """EXIF's orientation, 1 to 8."""
    stated = tags.get(image_codecs.ORIENTATION_TAG, 1)
    return int(stated) if stated in range(1, 9) else 1
