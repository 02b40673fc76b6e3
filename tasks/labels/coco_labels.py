"""Labels in one COCO file: its images, categories and annotations, drawn as class ids."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as packing

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy, require_classes
from stego_core.labels.void import VOID, VOID_BYTE
from tasks.files.image_names import composed, folded
from tasks.files.left_out import LeftOutCounts

BACKGROUND = {"background", "__background__", "_background_", "bg"}
"""Names of a class that pixels without an annotation are of, where a taxonomy has one."""
TABLE_COLUMNS = {"areas": "string"}
"""Beside each row of a listing: what is drawn, as JSON; null without a label."""
LEAST_POLYGON = 6
"""Numbers of the smallest polygon: three points."""


@dataclass(frozen=True)
class CocoFile:
    """A COCO file of instances or stuff.

    Attributes:
        name: of the file.
        images: its records.
        categories: name by id, in the order of the ids.
        annotations: of each image id.
    """

    name: str
    images: Sequence[Mapping[str, Any]]
    categories: Mapping[int, str]
    annotations: Mapping[Any, Sequence[Mapping[str, Any]]]

    @classmethod
    def parse(cls, content: bytes, name: str) -> "CocoFile":
        """A file from its bytes.

        Raises:
            InputError: it is no COCO file, or nothing in it can be drawn.
        """
        try:
            document = json.loads(content)
            images = [record for record in document["images"] if str(record["file_name"])]
            categories = sorted((int(c["id"]), str(c["name"])) for c in document["categories"])
            annotations: dict[Any, list[Mapping[str, Any]]] = {}
            for annotation in document["annotations"]:
                annotations.setdefault(annotation["image_id"], []).append(annotation)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f'the labels {name} are not a COCO file: expected JSON with "images" (id, '
                'file_name, height, width), "categories" (id, name) and "annotations" (image_id, '
                "category_id, segmentation)"
            ) from None
        every = [each for found in annotations.values() for each in found]
        if not every:
            raise InputError(
                f"the COCO file {name} lists {len(images)} images and {len(categories)} "
                "categories but no annotation; leave out --labels, or give the file with "
                "annotations"
            )
        if any("segments_info" in each for each in every):
            raise InputError(
                f"{name} is a COCO file of panoptic segments; give one of instances or stuff, or "
                "a folder of PNGs of class ids"
            )
        if not any(each.get("segmentation") for each in every):
            raise InputError(
                f"none of the {len(every)} annotations of {name} has a segmentation; boxes alone "
                "label no pixel"
            )
        return cls(name, images, dict(categories), annotations)

    def matched(self, paths: Sequence[str], told: LeftOutCounts) -> list[Mapping[str, Any] | None]:
        """The record of each image: that of its path, else of the only file of its name.

        Raises:
            InputError: no image is listed.
        """
        found: list[Mapping[str, Any] | None] = [None] * len(paths)
        used: set[int] = set()
        for form in (str, composed, folded, _last):
            free = _unique(
                (form(str(r["file_name"])), n) for n, r in enumerate(self.images) if n not in used
            )
            open_ = _unique((form(path), n) for n, path in enumerate(paths) if found[n] is None)
            for key, place in open_.items():
                if key in free:
                    found[place] = self.images[free[key]]
                    used.add(free[key])
        if not used:
            example = str(self.images[0]["file_name"]) if self.images else "nothing"
            raise InputError(
                f"the COCO file {self.name} lists none of the {len(paths)} images: an image is "
                f"called {paths[0]}, the file lists {example}"
            )
        told.add(
            "orphan label",
            [str(r["file_name"]) for n, r in enumerate(self.images) if n not in used],
        )
        told.add("unlisted", [path for n, path in enumerate(paths) if found[n] is None])
        bare = [a for each in self.annotations.values() for a in each if not a.get("segmentation")]
        told.count("boxes", len(bare), f"annotation {bare[0].get('id')}" if bare else "")
        return found


@dataclass(frozen=True)
class Meaning:
    """What categories become.

    Attributes:
        taxonomy: of the classes.
        classes: class id of each category id, −1 for void.
        fill: class id of pixels without an annotation, −1 for void.
    """

    taxonomy: Taxonomy
    classes: Mapping[int, int]
    fill: int

    @classmethod
    def of(cls, file: CocoFile, taxonomy: Taxonomy | None, told: LeftOutCounts) -> "Meaning":
        """By the taxonomy's names, its table of fine ids, or the order of the categories.

        Raises:
            InputError: there are too many categories, or the taxonomy does not know one.
        """
        ids, names = list(file.categories), list(file.categories.values())
        if taxonomy is None:
            require_classes(len(names), f"the COCO file {file.name}")
            twice = {name for name in names if names.count(name) > 1}
            pairs = file.categories.items()
            named = [f"{name} {number}" if name in twice else name for number, name in pairs]
            taxonomy = Taxonomy(file.name, tuple(named))
            classes = {number: place for place, number in enumerate(ids)}
        elif taxonomy.fine_to_coarse:
            values = taxonomy.apply(np.array([ids], np.int64))[0]
            classes = dict(zip(ids, values.tolist(), strict=True))
        else:
            classes = _by_name(file, taxonomy, told)
        fill = next((n for n, c in enumerate(taxonomy.classes) if folded(c) in BACKGROUND), VOID)
        fill = VOID if fill in classes.values() else fill
        shown = "void" if fill == VOID else f"class {taxonomy.classes[fill]!r}"
        told.remarks.append(f"labels: pixels without an annotation in {file.name} are {shown}")
        return cls(taxonomy, classes, fill)

    def areas(self, record: Mapping[str, Any], file: CocoFile) -> str | None:
        """What is drawn of an image, as JSON; None where nothing would be labelled.

        Raises:
            InputError: an annotation has a category that the file does not list.
        """
        drawn = []
        for annotation in file.annotations.get(record.get("id"), ()):
            if not annotation.get("segmentation"):
                continue
            category = annotation.get("category_id", -1)
            if category not in self.classes:
                raise InputError(
                    f"annotation {annotation.get('id')} of {file.name} has the category "
                    f"{category!r}, which the file does not list"
                )
            crowd = bool(annotation.get("iscrowd"))
            drawn.append([self.classes[category], crowd, annotation["segmentation"]])
        if not drawn and self.fill == VOID:
            return None
        size = [record.get("height"), record.get("width")]
        return json.dumps({"size": size, "fill": self.fill, "drawn": drawn})


def draw(areas: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class ids (H, W) uint8 of what is drawn of an image, void 255.

    Crowds lie below everything else, small things above large ones.

    Args:
        areas: JSON of `Meaning.areas`.
        size: (H, W) of the image.

    Raises:
        ImageError: a segmentation cannot be read.
    """
    document = json.loads(areas)
    height, width = (own or given for own, given in zip(document["size"], size, strict=True))
    ids = np.full((height, width), document["fill"], np.int16)
    parts = []
    for cls, crowd, segmentation in document["drawn"]:
        packed = _packed(segmentation, height, width)
        parts.append((not crowd, -int(packing.area(packed)), cls, packed))
    for _, _, cls, packed in sorted(parts, key=lambda part: part[:3]):
        ids[packing.decode(packed).astype(np.bool_)] = cls
    return np.where(ids == VOID, VOID_BYTE, ids).astype(np.uint8)


def _packed(segmentation: Any, height: int, width: int) -> Any:
    """Polygons, or run lengths of either kind, as packed run lengths."""
    try:
        if isinstance(segmentation, dict):
            size = [int(side) for side in segmentation["size"]]
            if size != [height, width]:
                raise ImageError(
                    f"label: a segmentation is of {size[0]}×{size[1]}, its image {height}×{width}"
                )
            if isinstance(segmentation["counts"], list):
                if sum(segmentation["counts"]) != height * width:
                    raise ImageError("label: run lengths do not add up to the image's pixels")
                return packing.frPyObjects(segmentation, height, width)
            counts = segmentation["counts"]
            return {"size": size, "counts": counts.encode() if isinstance(counts, str) else counts}
        polygons = [p for p in segmentation if len(p) >= LEAST_POLYGON and len(p) % 2 == 0]
        if not polygons:
            raise ImageError("label: a segmentation has no polygon of three points or more")
        return packing.merge(packing.frPyObjects(polygons, height, width))
    except ImageError:
        raise
    except Exception as error:  # what other people's files make the library raise
        raise ImageError(f"label: a segmentation cannot be read: {error}") from None


def _by_name(file: CocoFile, taxonomy: Taxonomy, told: LeftOutCounts) -> dict[int, int]:
    places = {folded(name): place for place, name in enumerate(taxonomy.classes)}
    strange = [name for name in file.categories.values() if folded(name) not in places]
    if not strange:
        return {number: places[folded(name)] for number, name in file.categories.items()}
    if len(file.categories) != len(taxonomy.classes):
        raise InputError(
            f"the taxonomy {taxonomy.name!r} has no class {strange[0]!r}, a category of "
            f"{file.name} ({len(strange)} of its {len(file.categories)} categories are unknown); "
            "name its classes as the categories, or leave out --taxonomy"
        )
    told.remarks.append(
        f"labels: categories of {file.name} became classes in the order of their ids, for example "
        f"{strange[0]!r} {taxonomy.classes[list(file.categories.values()).index(strange[0])]!r}"
    )
    return {number: place for place, number in enumerate(file.categories)}


def _last(path: str) -> str:
    return folded(PurePosixPath(path).name)


def _unique(pairs: Any) -> dict[str, int]:
    """Places by key, of keys that occur once."""
    found: dict[str, int] = {}
    twice = set()
    for key, place in pairs:
        if key in found:
            twice.add(key)
        found[key] = place
    return {key: place for key, place in found.items() if key not in twice}
