"""Files of annotation tools as masks: CVAT's XML, Label Studio's JSON and COCO files."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stego_core.labels.void import VOID, VOID_BYTE
from tasks.files.left_out import LeftOutCounts
from tasks.labels.coco_labels import CategoryMeaning, CocoFile, rasterise

Calls = Sequence[tuple[str, str | None]]
"""What an image may be called, the likeliest first: names as in `Listed`, the dump where known."""
Region = tuple[str, Callable[[tuple[int, int]], NDArray[np.bool_]]]
"""A class's name, and where an image of (H, W) has it; later ones lie on top."""


@dataclass(frozen=True)
class DrawnImage:
    """What somebody drew on an image.

    Attributes:
        label: what messages call it.
        calls: what the image may be called.
        ids: of an image's (H, W), names of classes and each pixel's number among them, int64, −1
            for none. An ImageError where the drawing cannot be read or is of another size.
    """

    label: str
    calls: Calls
    ids: Callable[[tuple[int, int]], tuple[Sequence[str], NDArray[np.int64]]]


def calls_of(path: str) -> Calls:
    """What an image may be called whose path in a tool is this one, the longest names first.

    Tools put folders before the path as listed, such as the name of the dump, and endings behind.
    """
    parts = PurePosixPath(path.lstrip("/")).parts
    found: list[tuple[str, str | None]] = []
    for first in range(len(parts)):
        tail = PurePosixPath(*parts[first:])
        for name in dict.fromkeys([str(tail), str(tail.with_suffix(""))]):
            found += [(name, parts[first - 1])] if first else []
            found.append((name, None))
    return found


def drawn_regions(
    regions: Sequence[Region], size: tuple[int, int]
) -> tuple[Sequence[str], NDArray[np.int64]]:
    """Names and numbers of the pixels of some regions, each on top of those before."""
    names = list(dict.fromkeys(name for name, _ in regions))
    ids = np.full(size, VOID, np.int64)
    for name, where in regions:
        ids[where(size)] = names.index(name)
    return names, ids


def coco_images(content: bytes, name: str) -> Iterator[DrawnImage | str]:
    """The images of a COCO file that have segmentations, or why annotations are left out.

    Raises:
        InputError: it is no such file.
    """
    file, told = CocoFile.parse(content, name), LeftOutCounts()
    meaning = CategoryMeaning.of(file, None, told)
    classes = meaning.taxonomy.classes

    def ids(areas: str, size: tuple[int, int]) -> tuple[Sequence[str], NDArray[np.int64]]:
        drawn = rasterise(areas, size).astype(np.int64)
        drawn[drawn == VOID_BYTE] = VOID
        return classes, drawn

    for record in file.images:
        areas, path = meaning.areas(record, file), str(record["file_name"])
        annotations = file.annotations.get(record.get("id"), ())
        if boxes := sum(not annotation.get("segmentation") for annotation in annotations):
            yield f"{path}: {boxes} annotations left out, as they have no segmentation"
        if areas is not None and json.loads(areas)["drawn"]:
            yield DrawnImage(path, calls_of(path), partial(ids, areas))
