"""What was drawn in CVAT, from its own XML file: "CVAT for images 1.1"."""

import io
from collections.abc import Iterator
from functools import partial
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from tasks.labels.coco_labels import inside
from tasks.teaching.annotation_files import (
    DrawnImage,
    Region,
    calls_of,
    drawn_regions,
)

SHAPES = ("mask", "polygon")
"""Kinds of shapes that have an inside, by their elements."""
OTHERS = ("box", "polyline", "points", "cuboid", "ellipse", "skeleton")
"""Kinds that say of no pixel what it is."""


def cvat_images(content: bytes, name: str) -> Iterator[DrawnImage | str]:
    """The images of a file that have shapes, or why shapes of an image are left out.

    Raises:
        InputError: it is no such file.
    """
    found = 0
    try:
        for _, element in ElementTree.iterparse(io.BytesIO(content), ("end",)):
            if element.tag == "track":
                raise InputError(
                    f"{name} holds tracks of a video; export the task as 'CVAT for images 1.1'"
                )
            if element.tag == "image":
                found += 1
                yield from _image(element)
                element.clear()
    except ElementTree.ParseError as error:
        raise InputError(f"{name} is not XML that can be read: {error}") from None
    if not found:
        raise InputError(f"{name} holds no image; expected an export of 'CVAT for images 1.1'")


def _image(element: Element) -> Iterator[DrawnImage | str]:
    path = element.get("name", "")
    others = [shape.tag for shape in element if shape.tag in OTHERS]
    if others:
        kept = "masks and polygons alone say what pixels show"
        yield f"{path}: {len(others)} shapes left out, such as a {others[0]}; {kept}"
    shapes = sorted(filter(_has_inside, element), key=_layer)  # in a layer in the file's order
    regions: list[Region] = [(s.get("label", ""), partial(_inside, _plain(s))) for s in shapes]
    if regions:
        yield DrawnImage(path, calls_of(path), partial(drawn_regions, regions))


def _has_inside(shape: Element) -> bool:
    return shape.tag in SHAPES


def _layer(shape: Element) -> int:
    """A shape's place in the stack, of which the highest is seen; the lowest if it has none."""
    text = shape.get("z_order", "")
    return int(text) if text.removeprefix("-").isdecimal() else 0


def _plain(shape: Element) -> dict[str, str]:
    """A shape's attributes, which stay when its element is cleared."""
    return {"kind": shape.tag, **shape.attrib}


def _inside(shape: dict[str, str], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) the pixels of a shape; an ImageError where it cannot be read, or lies outside."""
    try:
        if shape["kind"] == "polygon":
            pairs = [pair.split(",") for pair in shape["points"].split(";")]
            return inside([[float(number) for pair in pairs for number in pair]], size)
        left, top, width, height = (int(shape[n]) for n in ("left", "top", "width", "height"))
        runs = np.array([int(run) for run in shape["rle"].split(",")], np.int64)
    except (KeyError, ValueError):
        raise ImageError(f"a {shape['kind']} cannot be read") from None
    fits = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    if not fits or (runs < 0).any() or runs.sum() != width * height:
        raise ImageError(
            f"a mask of {height}×{width} at row {top}, column {left} does not fit an image of "
            "{}×{}, or its runs are not as many pixels".format(*size)
        )
    pixels = np.zeros(size, np.bool_)
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)  # outside first
    pixels[top : top + height, left : left + width] = values.reshape(height, width)
    return pixels
