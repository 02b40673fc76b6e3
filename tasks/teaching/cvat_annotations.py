"""What was drawn in CVAT, from its own XML file: "CVAT for images 1.1"."""

import io
from collections.abc import Iterator
from functools import partial
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from stego_core.labels.regions import of_runs
from tasks.labels.coco_labels import inside
from tasks.teaching.annotation_files import (
    DrawnImage,
    Region,
    calls_of,
    drawn_regions,
)

SHAPES = ("mask", "polygon")
"""Kinds of shapes that have an inside, by their elements."""


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
    others = [shape.tag for shape in element if shape.tag not in SHAPES]
    if others:
        kept = "masks and polygons alone say what pixels show"
        yield f"{path}: {len(others)} shapes left out, such as a {others[0]}; {kept}"
    shapes = [shape for shape in element if shape.tag in SHAPES]
    shapes.sort(key=_layer)  # shapes of a layer stay in the file's order
    regions: list[Region] = [(shape.get("label", ""), partial(_inside, shape)) for shape in shapes]
    if regions:
        yield DrawnImage(path, calls_of(path), partial(drawn_regions, regions))


def _layer(shape: Element) -> int:
    """A shape's place in the stack, of which the highest is seen; 0 where it states none."""
    text = shape.get("z_order", "")
    return int(text) if text.removeprefix("-").isdecimal() else 0


def _inside(shape: Element, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) the pixels of a shape; an ImageError where it cannot be read, or lies outside."""
    stated = shape.attrib
    try:
        if shape.tag == "polygon":
            pairs = [pair.split(",") for pair in stated["points"].split(";")]
            return inside([[float(number) for pair in pairs for number in pair]], size)
        left, top, width, height = (int(stated[n]) for n in ("left", "top", "width", "height"))
        part = of_runs([int(run) for run in stated["rle"].split(",")], height, width)
    except (KeyError, ValueError) as error:
        raise ImageError(f"a {shape.tag} cannot be read: {error}") from None
    if not (0 <= left <= size[1] - width and 0 <= top <= size[0] - height):
        raise ImageError(
            f"a mask of {height}×{width} at row {top}, column {left} does not fit an image of "
            "{}×{}".format(*size)
        )
    pixels = np.zeros(size, np.bool_)
    pixels[top : top + height, left : left + width] = part
    return pixels
