"""Sheets of pictures in rows and columns, with a caption above each column."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP = 4
CAPTION = 20
"""Pixels of the line above the pictures."""
COLOURS = 256
"""Colours of a stored picture: more make its file much larger."""
Pixels = NDArray[np.uint8]


def sheet(captions: Sequence[str], rows: Sequence[Sequence[Pixels]], width: int) -> Image.Image:
    """A sheet of this width on white of pictures (H, W, 3) uint8; all columns are equally wide."""
    cell = (width - GAP * (len(captions) + 1)) // len(captions)
    heights = [round(cell * row[0].shape[0] / row[0].shape[1]) for row in rows]
    page = Image.new("RGB", (width, CAPTION + sum(heights) + GAP * (len(rows) + 1)), "white")
    draw, top = ImageDraw.Draw(page), CAPTION + GAP
    for column, caption in enumerate(captions):
        draw.text((GAP + column * (cell + GAP), 3), caption, fill=(40, 40, 40), font=_font())
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            page.paste(_scaled(picture, (cell, height)), (GAP + column * (cell + GAP), top))
        top += height + GAP
    return page


def save(page: Image.Image, path: Path) -> None:
    """Store a picture as a small PNG."""
    page.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _scaled(picture: Pixels, size: tuple[int, int]) -> Image.Image:
    """Masks have few colours and keep them; photographs are smoothed."""
    flat = len(np.unique(picture.reshape(-1, 3), axis=0)) <= 32
    how = Image.Resampling.NEAREST if flat else Image.Resampling.LANCZOS
    return Image.fromarray(picture).resize(size, how)


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 12)
