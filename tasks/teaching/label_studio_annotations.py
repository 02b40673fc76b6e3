"""What was drawn in Label Studio, from its JSON export."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from tasks.labels.coco_labels import inside
from tasks.labels.label_studio_brush import brush_codec
from tasks.teaching.annotation_files import (
    Calls,
    DrawnImage,
    Region,
    calls_of,
    drawn_regions,
)

UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the names of files that were uploaded to it."""
KINDS = {"brushlabels", "polygonlabels"}
"""Types of results that have an inside."""
CHANNELS = 4
"""A brush's runs are of pixels of red, green, blue and alpha."""


def label_studio_images(tasks: Sequence[Any], name: str) -> Iterator[DrawnImage | str]:
    """The annotated images of an export, or why results of an image are left out.

    Of a task with several annotations the one counts that was changed last; skipped ones, and
    predictions that nobody accepted, count for nothing.

    Raises:
        InputError: it is no such export.
    """
    for task in tasks:
        if not (isinstance(task, dict) and isinstance(task.get("annotations"), list)):
            raise InputError(
                f"{name} is not Label Studio's export 'JSON' (a list of tasks, each with "
                "'data' and 'annotations'); 'JSON-MIN' and masks by brush name no image's size"
            )
        try:
            yield from list(_annotated(task))
        except (AttributeError, IndexError, KeyError, TypeError):
            yield f"{_label(task)}: has an annotation that cannot be read"


def _label(task: Mapping[str, Any]) -> str:
    return f"task {task.get('id', '?')}"


def _annotated(task: Mapping[str, Any]) -> Iterator[DrawnImage | str]:
    """A task's image with its newest annotation."""
    annotations = [each for each in task["annotations"] if not each.get("was_cancelled")]
    if not annotations:
        return
    newest = max(annotations, key=lambda each: str(each.get("updated_at", "")))
    of_kind = [result for result in newest["result"] if result.get("type") in KINDS]
    others = [each.get("type") for each in newest["result"] if each.get("type") not in KINDS]
    if others:
        kept = "brushes and polygons alone say what pixels show"
        yield f"{_label(task)}: {len(others)} results left out, such as {others[0]}; {kept}"
    areas: list[Region] = [
        (str(result["value"][result["type"]][0]), partial(_inside, result)) for result in of_kind
    ]
    if areas:
        yield DrawnImage(_label(task), _calls(task["data"]), partial(drawn_regions, areas))


def _calls(data: Mapping[str, Any]) -> Calls:
    """What the image of a task may be called: our id of it, else by its address."""
    if "image_id" in data and "dump" in data:
        return [(str(data["image_id"]), str(data["dump"]))]
    calls: list[tuple[str, str | None]] = []
    for value in data.values():
        if isinstance(value, str):
            calls += calls_of(_path(value))
    return calls


def _path(address: str) -> str:
    """The path that an address of Label Studio stands for: of a local, a stored or an upload."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    path = local[0] if local else unquote(parts.path)
    folder, slash, name = path.rpartition("/")
    return folder + slash + UPLOADED.sub("", name) if "/upload/" in path else path


def _inside(result: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) the pixels of a result; an ImageError where it cannot be read or does not fit."""
    try:
        value, stated = result["value"], (result["original_height"], result["original_width"])
        if result.get("image_rotation"):
            raise ImageError("was turned in Label Studio; turn it back, or turn the image itself")
        if stated != size:
            raise ImageError("is {}×{}, its image {}×{}".format(*stated, *size))
        if result["type"] == "polygonlabels":
            scale = np.array([size[1], size[0]]) / 100  # points are in percent
            points = (np.array(value["points"], np.float64) * scale).ravel()
            return inside([points.tolist()], size)
        runs = value["rle"]
    except (KeyError, TypeError, ValueError):
        raise ImageError("has a result that cannot be read") from None
    return _brush(runs, size)


def _brush(runs: list[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    decode = brush_codec("brush masks of Label Studio").decode_rle
    try:
        pixels = np.asarray(decode(runs)).reshape(*size, CHANNELS)
    except Exception as error:  # what broken runs make the library raise
        raise ImageError(f"has a brush mask that cannot be read: {error}") from None
    return np.asarray(pixels[..., CHANNELS - 1] > 0)
