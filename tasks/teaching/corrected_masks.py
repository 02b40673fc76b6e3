"""Masks that people corrected, and label images: what differs from the current masks is taught."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from stego_core.images.palette import rgb
from stego_core.labels.taxonomy import Taxonomy
from stego_core.labels.void import VOID, VOID_BYTE
from stego_core.teaching.corrections import corrected_points
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.corpus.listing import read_file
from tasks.images import image_codecs
from tasks.labels.label_decoding import class_ids
from tasks.labels.taxonomies import load_taxonomy
from tasks.storage.storage import Storage
from tasks.teaching.lessons import Lesson
from tasks.teaching.point_files import Listed, ReadPoints
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

ENDINGS = {".png", ".tif", ".tiff", ".bmp"}
"""Of files that keep every pixel's value."""
COLOURED = {"RGB", "RGBA"}
"""Pillow's modes of masks that hold the classes' colours."""


def read_masks(
    workspace: Workspace,
    location: str,
    dumps: list[str],
    clusters_key: str,
    taxonomy: str | None = None,
) -> ReadPoints:
    """Lessons of a folder of masks, each called as its image: where they differ from the current.

    Args:
        location: path or URI of the folder.
        dumps: among whose images those of the masks are.
        clusters_key: of the clusters whose names people saw.
        taxonomy: JSON file of what the masks' values mean; None for the ids or the colours of the
            workspace's classes, as exports have them.

    Raises:
        InputError: there is no mask, none can be used, or none differs.
    """
    storage = Storage.at(location)
    files = sorted(file.path for file in storage.files())
    masks = [path for path in files if PurePosixPath(path).suffix.lower() in ENDINGS]
    if not masks:
        raise InputError(
            f"{location} holds no mask: {len(files)} files, none of which ends in "
            f"{', '.join(sorted(ENDINGS))}"
        )
    listed = Listed(workspace, dumps, {name for path in masks for name in _names(path)})
    reader = _Corrections(workspace, clusters_key, load_taxonomy(taxonomy))
    lessons, problems = list[Lesson](), list[str]()
    for path in masks:
        try:
            dump, entry = _image_of(path, listed)
            lessons += reader.lessons(dump, entry, read_file(storage, path))
        except InputError as error:
            problems.append(f"{path}: {error}")
    if not lessons:
        reason = f": {problems[0]}" if problems else ", because none differs from the current masks"
        raise InputError(f"nothing can be learned of {location}{reason}")
    return ReadPoints(lessons, problems)


def _names(path: str) -> tuple[str, str]:
    """What the image of a mask may be called: the path without its ending, or the name alone."""
    file = PurePosixPath(path)
    return str(file.with_suffix("")), file.stem


def _image_of(path: str, listed: Listed) -> tuple[str, dict[str, Any]]:
    whole, stem = _names(path)
    try:
        return listed.find(whole, None)
    except InputError:
        return listed.find(stem, None)


class _Corrections:
    """Compares masks with the current ones."""

    def __init__(self, workspace: Workspace, clusters_key: str, taxonomy: Taxonomy | None) -> None:
        self.workspace, self.clusters_key, self.taxonomy = workspace, clusters_key, taxonomy
        self.classes = classes_file.current_names(workspace).classes
        self.masks_key = Summary(workspace).require("masks")
        first = workspace.dumps()[0]
        self.max_pixels = int(IndexReader(workspace, first).manifest["max_pixels"])

    def lessons(self, dump: str, entry: dict[str, Any], content: bytes) -> list[Lesson]:
        """What a mask's file corrects of an image."""
        names, after = self._read(content)
        before = self._current(dump, entry["image_id"], names)
        if after.shape != before.shape:
            raise ImageError("is {}×{}, its image {}×{}".format(*after.shape, *before.shape))
        return [
            Lesson(dump, entry["image_id"], point.x, point.y, names[point.cls], self.clusters_key)
            for point in corrected_points(before, after)
        ]

    def _read(self, content: bytes) -> tuple[Sequence[str], NDArray[np.int64]]:
        """Names of classes, and each pixel's number among them, −1 for none."""
        taxonomy = self.taxonomy or self._own(content)
        ids = class_ids(content, self.max_pixels, taxonomy)
        return taxonomy.classes, ids.astype(np.int64)

    def _own(self, content: bytes) -> Taxonomy:
        """What values of an exported mask mean: ids, or colours."""
        entries = self.classes.entries
        names = tuple(entry.name for entry in entries)
        with image_codecs.opened(content, self.max_pixels) as image:
            coloured = image.mode in COLOURED
        colours = tuple(_rgb(entry.colour) for entry in entries) if coloured else None
        return Taxonomy("classes", names, colours=colours)

    def _current(self, dump: str, image_id: str, names: Sequence[str]) -> NDArray[np.int64]:
        """The current mask by the numbers of these names, −2 for classes that have none of them."""
        path = layout.mask(layout.masks(self.masks_key, dump), image_id)
        try:
            ids = image_codecs.decode_mask(self.workspace.storage.read(path))
        except FileNotFoundError:
            raise InputError("its image has no mask yet") from None
        numbers = {name.casefold(): number for number, name in enumerate(names)}
        table = np.full(256, VOID - 1, np.int64)
        shown = self.classes.display_table()
        for number in range(len(self.classes.entries)):
            if shown[number] != VOID_BYTE:
                name = self.classes.entries[shown[number]].name
                table[number] = numbers.get(name.casefold(), VOID - 1)
        return np.asarray(table[ids])


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = rgb(colour)
    return int(red), int(green), int(blue)
