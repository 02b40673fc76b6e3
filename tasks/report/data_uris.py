"""Pictures of the report as data URIs, each with its alt text and natural size."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]  # (H, W, 3), RGB
Floats = NDArray[np.floating]
Colour = tuple[int, int, int]  # RGB, 0 to 255

MAX_WIDTH = 480
"""Pixels of an embedded picture."""
MAX_HEIGHT = 960
"""Pixels of an embedded picture."""


@dataclass(frozen=True)
class Embedded:
    """A picture as it stands in the page: data URI, alt text, natural size in CSS pixels."""

    uri: str
    alt: str
    width: int
    height: int


def photo(picture: Picture, alt: str) -> Embedded:
    """Shrinks an RGB picture (H, W, 3) uint8 to the page's size and embeds it as JPEG."""
    return _embed(_shrink(picture, Image.Resampling.LANCZOS), alt, "JPEG", quality=85)


def mask(picture: Picture, alt: str) -> Embedded:
    """Like `photo`, for flat class colours (H, W, 3) uint8: nearest pixel, lossless PNG."""
    return _embed(_shrink(picture, Image.Resampling.NEAREST), alt, "PNG", optimize=True)


def marked(
    picture: Picture, points: Sequence[tuple[float, float]], colours: Sequence[Colour], alt: str
) -> Embedded:
    """Embeds a picture with a dot in a white ring at every point (row, col), in its pixels."""
    image = _shrink(picture, Image.Resampling.LANCZOS)
    for point, colour in zip(points, colours, strict=True):
        _draw_dot(image, point, image.width / picture.shape[1], colour)
    return _embed(image, alt, "JPEG", quality=88)


def heat(
    picture: Picture,
    values: Floats,
    colour: Colour,
    alt: str,
    point: tuple[float, float] | None = None,
) -> Embedded:
    """Blends positive correspondence over a greyscale picture.

    Args:
        picture: (H, W, 3) uint8.
        values: (h, w) cosine similarities in [-1, 1] at patch resolution; they are upsampled
            bilinearly. One is full colour, zero and below (or not a number) is no colour.
        colour: RGB of the query.
        alt: what the picture shows, in words.
        point: (row, col) in pixels of `picture` where the query lies, if it lies there.
    """
    grey = _shrink(picture, Image.Resampling.LANCZOS).convert("L")
    patches = np.nan_to_num(values).astype(np.float32)
    fine = np.asarray(Image.fromarray(patches).resize(grey.size, Image.Resampling.BILINEAR))
    weight = np.clip(fine, 0.0, 1.0)[..., None] ** 0.75  # weak similarities stay visible
    base = 0.6 * np.asarray(grey, dtype=np.float32)[..., None]
    blend = (1.0 - weight) * base + weight * np.asarray(colour, dtype=np.float32)
    image = Image.fromarray(blend.round().astype(np.uint8))
    if point is not None:
        _draw_dot(image, point, image.width / picture.shape[1], colour)
    return _embed(image, alt, "JPEG", quality=85)


def data_uri(kind: str, content: bytes) -> str:
    """A file of a kind of image ("png", "svg+xml") as a URI that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _embed(image: Image.Image, alt: str, kind: str, **options: int) -> Embedded:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Embedded(data_uri(kind.lower(), buffer.getvalue()), alt, image.width, image.height)


def _shrink(picture: Picture, how: Image.Resampling) -> Image.Image:
    """An image of at most MAX_WIDTH by MAX_HEIGHT pixels; a small one is not enlarged."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"a picture is {picture.dtype} {picture.shape}, expected uint8 "
            "(height, width, 3): convert it to RGB before it goes into the report"
        )
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = min(1.0, MAX_WIDTH / image.width, MAX_HEIGHT / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, how)


def _draw_dot(image: Image.Image, point: tuple[float, float], scale: float, colour: Colour) -> None:
    """Draw a dot with a white ring at a point (row, col) of the picture before it was scaled."""
    radius = max(3.0, image.width / 42)
    centre = round(point[1] * scale), round(point[0] * scale)
    for size, fill in ((1.4 * radius, (255, 255, 255)), (radius, colour)):
        ImageDraw.Draw(image).circle(centre, round(size), fill)
