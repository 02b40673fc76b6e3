"""Bytes to pixels and back: decoding what people have, encoding what they get."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from stego_core.errors import DamageError, ImageError
from tasks.files import formats

FULL_SCALE = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I": 65535}
"""Largest value of the modes that hold more than 8 bits a channel."""
PACKED = {"L;2": 85, "L;4": 17}
"""Pillow's factor of grey values of 2 and 4 bits, which is undone where they are ids."""
OVERLAY_QUALITY = 88  # JPEG quality of overlays
PHOTO_QUALITY = 95  # JPEG quality of pictures that look like their originals
ORIENTATION_TAG = 0x0112  # EXIF's tag of the orientation
TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""The transposition from the display to the file, by EXIF orientation."""
UPRIGHT = TURNED_BACK | {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
"""The transposition from the file to the display; all others undo themselves."""
ON_SIDE = {5, 6, 7, 8}  # orientations of pictures that are stored lying on a side

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # it also raises, or GDAL reads the file
Image.MAX_IMAGE_PIXELS = None  # `max_pixels` decides, with a message of its own


class Size(NamedTuple):
    """Height and width of an image as it is displayed."""

    height: int
    width: int


class EncodedImage(NamedTuple):
    """How a file stores an image."""

    format: str  # Pillow's name of it, such as JPEG
    orientation: int  # EXIF's, 1 to 8; 1 where it is displayed as it is stored


def stored(content: bytes, max_pixels: int) -> EncodedImage:
    """How a file stores its image; raises as `opened`."""
    with opened(content, max_pixels) as image:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        return EncodedImage(str(image.format), orientation if orientation in TURNED_BACK else 1)


def turned_back(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Pixels (H, W) uint8 as displayed, in the order of a file of this EXIF orientation."""
    return _transposed(pixels, TURNED_BACK.get(orientation))


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W) or (H, W, 3) of a file of this EXIF orientation, as displayed."""
    return _transposed(pixels, UPRIGHT.get(orientation))


def _transposed(pixels: NDArray[Any], method: Image.Transpose | None) -> NDArray[Any]:
    return pixels if method is None else np.asarray(Image.fromarray(pixels).transpose(method))


def decode(content: bytes, max_pixels: int, upright: bool = True) -> NDArray[np.uint8]:
    """RGB pixels (H, W, 3) uint8 of an image file, as displayed: EXIF orientation applied.

    CMYK, palettes, grey and 16 bits become RGB; transparent parts show white behind them; of
    an animation the first frame counts. `upright=False` leaves the pixels as they are stored.

    Raises:
        ImageError: not an image, truncated, empty, or of more than `max_pixels` pixels.
    """
    with opened(content, max_pixels) as image:
        image.load()
        if upright:
            ImageOps.exif_transpose(image, in_place=True)  # a copy less of a large image
        return np.ascontiguousarray(np.asarray(to_rgb(image)))


def shrunk(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 with a short side of at most `side`, by area; smaller ones as is."""
    height, width = shrunk_size(pixels.shape[0], pixels.shape[1], side)
    if (height, width) == pixels.shape[:2]:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def shrunk_size(height: int, width: int, side: int) -> Size:
    """The size that `shrunk` gives."""
    if min(height, width) <= side:
        return Size(height, width)
    scale = side / min(height, width)
    return Size(max(round(height * scale), side), max(round(width * scale), side))


def decode_labels(content: bytes, max_pixels: int) -> NDArray[np.int32]:
    """Stored label values (H, W) int32 of a label file: palette indices or grey values.

    Raises:
        ImageError: not an image, truncated, or with colour channels.
    """
    with opened(content, max_pixels) as image:
        packing = raw_mode(image)
        image.load()
        if image.mode not in {"L", "P", "1", *FULL_SCALE}:
            raise ImageError(
                f"label has mode {image.mode}; expected one channel of ids (grey or palette), or a "
                'taxonomy with "colours"'
            )
        values = np.asarray(image).astype(np.int32)
        return values // PACKED.get(packing, 1)


def raw_mode(image: Image.Image) -> str:
    """Pillow's name of how the file stores its pixels; empty where it does not say."""
    tiles = getattr(image, "tile", None) or []
    arguments = tiles[0].args if tiles else ""
    return arguments if isinstance(arguments, str) else ""


@contextmanager
def opened(content: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """The image of these bytes.

    Raises:
        ImageError: they are damaged, no image, or one of more than `max_pixels` pixels.
    """
    if not content:
        raise ImageError("the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=formats.decoders()) as image:
            require_size(*image.size, max_pixels)
            yield image
    except UnidentifiedImageError:
        raise ImageError(formats.refusal(content)) from None
    except ImageError:
        raise
    except Exception as error:  # damaged files make decoders fail in ways of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"cannot be decoded: {reason}") from None


def require_size(width: int, height: int, max_pixels: int) -> None:
    """Raise an ImageError for an image of more pixels than the limit."""
    if width * height > max_pixels:
        raise ImageError(
            f"{width}×{height} is {width * height:,} pixels, more than the limit of "
            f"{max_pixels:,}; raise --max-pixels if it is meant"
        )


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB; transparent parts show white behind them."""
    if image.mode in FULL_SCALE:
        values = np.asarray(image).astype(np.float64) * (255 / FULL_SCALE[image.mode])
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image)).astype(np.float64)  # a float32 span overflows
        span = max(float(values.max() - values.min()), 1e-12)
        grey = (values - values.min()) * (255 / span)
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    """CIE L*a*b* as sRGB; Pillow's `convert` does not know how."""
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(*profiles, "LAB", "RGB")
    rgb = ImageCms.applyTransform(image, transform)
    assert rgb is not None  # only a transform in place returns none
    return rgb


def encode_mask(classes: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """A palette PNG of class ids (H, W) uint8: the pixel values are the ids, seen in colours.

    Ids beyond the colours, such as 255 where there is no data, are black.
    """
    image = Image.fromarray(classes, mode="L")
    if classes.size and classes.max() >= len(colours):  # Pillow packs ids by the palette's length
        colours = np.concatenate([colours, np.zeros((256 - len(colours), 3), np.uint8)])
    image.putpalette(colours.tobytes())
    return encode_png(image)


def encode_margins(margins: NDArray[np.uint8]) -> bytes:
    """A grey PNG of margins (H, W) uint8."""
    return encode_png(Image.fromarray(margins, mode="L"))


def encode_png(image: Image.Image) -> bytes:
    """A PNG of an image, pixels as they are."""
    return _encoded(image, "PNG")


def decode_mask(content: bytes) -> NDArray[np.uint8]:
    """Class ids (H, W) uint8 of `encode_mask`, or margins; a DamageError for other bytes."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DamageError(
            f"a stored mask is damaged ({error}); remove its folder and run the same command again"
        ) from None


def encode_overlay(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG of RGB pixels (H, W, 3) uint8."""
    return _encoded(Image.fromarray(pixels), "JPEG", quality=OVERLAY_QUALITY)


def encode_photo(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG of RGB pixels (H, W, 3) uint8 that looks the same."""
    return _encoded(Image.fromarray(np.ascontiguousarray(pixels)), "JPEG", quality=PHOTO_QUALITY)


def through_jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB pixels (H, W, 3) uint8 after a JPEG file of Pillow's default quality, 75."""
    with Image.open(io.BytesIO(_encoded(Image.fromarray(pixels), "JPEG"))) as image:
        return np.asarray(image)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()
