"""Masks that people corrected, and label images: what differs from the current masks is taught."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
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
from tasks.corpus.listing import file_at, read_file
from tasks.images import image_codecs
from tasks.labels.coco_labels import BACKGROUND
from tasks.labels.label_decoding import class_ids
from tasks.labels.taxonomies import load_taxonomy
from tasks.storage.storage import Storage
from tasks.teaching.annotation_files import DrawnImage, calls_of, coco_images
from tasks.teaching.cvat_annotations import cvat_images
from tasks.teaching.label_studio_annotations import label_studio_images
from tasks.teaching.lessons import Lesson, checked_class
from tasks.teaching.point_files import Listed, ReadPoints
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

ENDINGS = {".png", ".tif", ".tiff", ".bmp"}
"""Of files that keep every pixel's value."""
TOOLS_ENDINGS = {".xml", ".json"}
"""Of files that annotation tools export."""
COLOURED = {"RGB", "RGBA"}
"""Pillow's modes of masks that hold the classes' colours."""
CVAT_FILE = "annotations.xml"
"""What CVAT calls its own file; a folder that holds one may hold the images, too."""
COLOUR_LIST = "labelmap.txt"
"""CVAT's list of the colours in a folder of masks, and the folder of its masks of classes; another
holds masks of objects."""
CLASS_FOLDER = "SegmentationClass/"


def read_masks(
    workspace: Workspace,
    location: str,
    dumps: list[str],
    clusters_key: str,
    taxonomy: str | None = None,
) -> ReadPoints:
    """Lessons of corrected masks: where they differ from the current ones.

    Args:
        location: path or URI of a folder of masks, each called as its image, or as CVAT exports
            them; or of a file of CVAT (XML), of Label Studio (JSON) or in COCO's format.
        dumps: among whose images those of the masks are.
        clusters_key: of the clusters whose names people saw.
        taxonomy: JSON file of what the values of a folder's masks mean; None for the ids or the
            colours of the workspace's classes, as exports have them.

    Raises:
        InputError: there is no mask, none can be used, or none differs.
    """
    corrections = _Corrections(workspace, clusters_key)
    drawn, problems = list[DrawnImage](), list[str]()
    for each in _drawn(location, corrections, load_taxonomy(taxonomy)):
        if isinstance(each, str):
            problems.append(each)
        else:
            drawn.append(each)
    listed = Listed(workspace, dumps, {name for each in drawn for name, _ in each.calls})
    lessons = list[Lesson]()
    for each in drawn:
        try:
            lessons += corrections.lessons(*_image_of(each, listed), each)
        except InputError as error:
            problems.append(f"{each.label}: {error}")
    if not lessons:
        reason = f": {problems[0]}" if problems else ", because none differs from the current masks"
        raise InputError(f"nothing can be learned of {location}{reason}")
    return ReadPoints(lessons, problems)


def _drawn(
    location: str, corrections: "_Corrections", taxonomy: Taxonomy | None
) -> Iterator[DrawnImage | str]:
    """The masks of a folder or a file, or why some are left out."""
    if PurePosixPath(location).suffix.lower() in TOOLS_ENDINGS:
        yield from _file_of_a_tool(*file_at(location), taxonomy)
        return
    storage = Storage.at(location)
    files = sorted(file.path for file in storage.files())
    if CVAT_FILE in files:
        yield from _file_of_a_tool(storage, CVAT_FILE, taxonomy)
        return
    if COLOUR_LIST in files:
        text = read_file(storage, COLOUR_LIST).decode("utf-8-sig", "replace")
        taxonomy = taxonomy or corrections.colour_list(text)
        files = [path for path in files if path.startswith(CLASS_FOLDER)]
    masks = [path for path in files if PurePosixPath(path).suffix.lower() in ENDINGS]
    if not masks:
        raise InputError(
            f"{location} holds no mask: {len(files)} files, none of which ends in "
            f"{', '.join(sorted(ENDINGS))}; expected masks called as their images, or give the "
            "file that CVAT (XML) or Label Studio (JSON) exported"
        )
    for path in masks:
        ids = partial(corrections.ids_of_file, storage, path, taxonomy)
        yield DrawnImage(path, calls_of(path.removeprefix(CLASS_FOLDER)), ids)


def _file_of_a_tool(
    storage: Storage, name: str, taxonomy: Taxonomy | None
) -> Iterator[DrawnImage | str]:
    if taxonomy is not None:
        raise InputError(f"{name} names its classes itself; leave out the taxonomy")
    content = read_file(storage, name, f"{name} cannot be read")
    if name.lower().endswith(".xml"):
        yield from cvat_images(content, name)
        return
    try:
        document = json.loads(content)
    except ValueError as error:
        raise InputError(f"{name} is not JSON: {error}") from None
    if isinstance(document, list):
        yield from label_studio_images(document, name)
    else:
        yield from coco_images(content, name)


def _image_of(drawn: DrawnImage, listed: Listed) -> tuple[str, dict[str, Any]]:
    """The dump and the index entry of the image that somebody drew on."""
    known = (call for call in drawn.calls if listed.has(*call))
    return listed.find(*next(known, [*drawn.calls, (drawn.label, None)][0]))


class _Corrections:
    """Compares masks with the current ones."""

    def __init__(self, workspace: Workspace, clusters_key: str) -> None:
        self.workspace, self.clusters_key = workspace, clusters_key
        self.classes = classes_file.current_names(workspace).classes
        self.masks_key = Summary(workspace).require("masks")
        first = workspace.dumps()[0]
        self.max_pixels = int(IndexReader(workspace, first).manifest["max_pixels"])

    def lessons(self, dump: str, entry: dict[str, Any], drawn: DrawnImage) -> list[Lesson]:
        """What a mask corrects of an image."""
        size, image_id = (entry["height"], entry["width"]), entry["image_id"]
        names, after = drawn.ids(size)
        if after.shape != size:
            raise ImageError("is {}×{}, its image {}×{}".format(*after.shape, *size))
        points = corrected_points(self._current(dump, image_id, names), after)
        classes = {cls: checked_class(names[cls]) for cls in {point.cls for point in points}}
        return [
            Lesson(dump, image_id, point.x, point.y, classes[point.cls], self.clusters_key)
            for point in points
        ]

    def ids_of_file(
        self, storage: Storage, path: str, taxonomy: Taxonomy | None, size: tuple[int, int]
    ) -> tuple[Sequence[str], NDArray[np.int64]]:
        """Names of classes, and each pixel's number among them, −1 for none."""
        content = read_file(storage, path)
        meaning = taxonomy or self._own(content)
        return meaning.classes, class_ids(content, self.max_pixels, meaning).astype(np.int64)

    def colour_list(self, text: str) -> Taxonomy:
        """What CVAT's list says of colours: `label:red,green,blue:parts:actions`, one a line.

        The background, which is what nobody drew on, has no class unless the workspace has it.
        """
        known = {entry.name.casefold() for entry in self.classes.entries}
        classes, void = dict[str, list[int]](), list[list[int]]()
        for line in text.splitlines():
            fields = line.partition("#")[0].strip().split(":")
            if fields == [""]:
                continue
            try:
                colour = [int(part) for part in fields[1].split(",")]
            except (IndexError, ValueError):
                raise InputError(
                    f"{COLOUR_LIST} has a line {line!r:.60}; expected label:r,g,b::"
                ) from None
            if fields[0].casefold() in BACKGROUND - known:
                void.append(colour)
            else:
                classes[fields[0]] = colour
        colours = [*classes.values(), *void[:1]]
        return Taxonomy.parse({"name": COLOUR_LIST, "classes": [*classes], "colours": colours})

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
