"""Labels in one COCO file: its images, categories and annotations, rasterised as class ids."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy, require_classes
from stego_core.labels.void import VOID, VOID_BYTE
from tasks.files.image_names import composed, folded
from tasks.files.left_out import LeftOutCounts

BACKGROUND = {"background", "__background__", "_background_", "bg"}
"""Names of a class that pixels without an annotation are of, where a taxonomy has one."""
TABLE_COLUMNS = {"areas": "string"}
"""Beside each row of a listing: its annotated areas, as JSON; null without a label."""
POLYGON_NUMBERS = 6  # numbers of the smallest polygon: three points
Record = Mapping[str, Any]
"""A JSON object of a COCO file: an image or an annotation."""


@dataclass(frozen=True)
class CocoFile:
    """A COCO file of instances or stuff."""

    name: str
    images: Sequence[Record]
    categories: Mapping[int, str]  # name by id, in the order of the ids
    annotations: Mapping[Any, Sequence[Record]]  # of each image id

    @classmethod
    def parse(cls, content: bytes, name: str) -> "CocoFile":
        """A file from its bytes; an InputError if it is no COCO file, or without segmentations."""
        try:
            document = json.loads(content)
            images = [record for record in document["images"] if str(record["file_name"])]
            categories = sorted((int(c["id"]), str(c["name"])) for c in document["categories"])
            annotations: dict[Any, list[Record]] = {}
            for annotation in document["annotations"]:
                annotations.setdefault(annotation["image_id"], []).append(annotation)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f'the labels {name} are not a COCO file: expected JSON with "images" (id, '
                'file_name, height, width), "categories" (id, name) and "annotations" (image_id, '
                "category_id, segmentation)"
            ) from None
        file = cls(name, images, dict(categories), annotations)
        file._require_segmentations()
        return file

    def _all_annotations(self) -> list[Record]:
        return [record for records in self.annotations.values() for record in records]

    def _require_segmentations(self) -> None:
        annotations = self._all_annotations()
        if not annotations:
            raise InputError(
                f"the COCO file {self.name} lists {len(self.images)} images and "
                f"{len(self.categories)} categories but no annotation; leave out --labels, or give "
                "the file with annotations"
            )
        if any("segments_info" in annotation for annotation in annotations):
            raise InputError(
                f"{self.name} is a COCO file of panoptic segments; give one of instances or stuff, "
                "or a folder of PNGs of class ids"
            )
        if not any(annotation.get("segmentation") for annotation in annotations):
            raise InputError(
                f"none of the {len(annotations)} annotations of {self.name} has a segmentation; "
                "boxes alone label no pixel"
            )

    def records_of(self, paths: Sequence[str], left_out: LeftOutCounts) -> list[Record | None]:
        """The record of each image: that of its path, else of the only file of its name.

        An InputError if no image is listed.
        """
        names = [str(record["file_name"]) for record in self.images]
        record_of: dict[int, int] = {}
        for form in (str, composed, folded, _folded_name):
            used = set(record_of.values())
            unused = _unique(form, names, used)
            for key, image in _unique(form, paths, record_of).items():
                if key in unused:
                    record_of[image] = unused[key]
        if not record_of:
            raise InputError(
                f"the COCO file {self.name} lists none of the {len(paths)} images: an image is "
                f"called {paths[0]}, the file lists {names[0] if names else 'nothing'}"
            )
        used = set(record_of.values())
        left_out.add("orphan label", [name for n, name in enumerate(names) if n not in used])
        left_out.add("unlisted", [path for n, path in enumerate(paths) if n not in record_of])
        boxes = [a.get("id") for a in self._all_annotations() if not a.get("segmentation")]
        left_out.add("boxes", [f"annotation {number}" for number in boxes])
        return [self.images[record_of[n]] if n in record_of else None for n in range(len(paths))]


@dataclass(frozen=True)
class CategoryMeaning:
    """The classes of a COCO file's categories."""

    taxonomy: Taxonomy
    classes: Mapping[int, int]  # class id of each category id, −1 for void
    fill: int  # class id of pixels without an annotation, −1 for void

    @classmethod
    def of(
        cls, file: CocoFile, taxonomy: Taxonomy | None, left_out: LeftOutCounts
    ) -> "CategoryMeaning":
        """By the taxonomy's names, its table of fine ids, or the order of the categories.

        Raises:
            InputError: there are too many categories, or the taxonomy does not know one.
        """
        ids = list(file.categories)
        if taxonomy is None:
            taxonomy = _taxonomy_of(file)
            classes = {number: cls for cls, number in enumerate(ids)}
        elif taxonomy.fine_to_coarse:
            values = taxonomy.apply(np.array([ids], np.int64))[0]
            classes = dict(zip(ids, values.tolist(), strict=True))
        else:
            classes = _classes_by_name(file, taxonomy, left_out)
        fill = next((n for n, c in enumerate(taxonomy.classes) if folded(c) in BACKGROUND), VOID)
        fill = VOID if fill in classes.values() else fill
        name = "void" if fill == VOID else f"class {taxonomy.classes[fill]!r}"
        left_out.remarks.append(f"labels: pixels without an annotation in {file.name} are {name}")
        return cls(taxonomy, classes, fill)

    def areas(self, record: Record, file: CocoFile) -> str | None:
        """The annotated areas of an image, as JSON; None where nothing would be labelled.

        An InputError if an annotation has a category that the file does not list.
        """
        areas = []
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
            areas.append([self.classes[category], crowd, annotation["segmentation"]])
        if not areas and self.fill == VOID:
            return None
        size = [record.get("height"), record.get("width")]
        return json.dumps({"size": size, "fill": self.fill, "drawn": areas})


def rasterise(areas: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class ids (H, W) uint8 of an image of this size, void 255, from `CategoryMeaning.areas`.

    Crowds lie below everything else, small things above large ones. An ImageError if a segmentation
    cannot be read.
    """
    document = json.loads(areas)
    height, width = (
        stated or actual for stated, actual in zip(document["size"], size, strict=True)
    )
    ids = np.full((height, width), document["fill"], np.int16)
    layers = []
    for cls, crowd, segmentation in document["drawn"]:
        packed = _packed(segmentation, height, width)
        layers.append((not crowd, -int(run_lengths.area(packed)), cls, packed))
    for _, _, cls, packed in sorted(layers, key=lambda layer: layer[:3]):
        ids[run_lengths.decode(packed).astype(np.bool_)] = cls
    return np.where(ids == VOID, VOID_BYTE, ids).astype(np.uint8)


def inside(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) the pixels of a segmentation, polygons or run lengths; an ImageError if it is none."""
    return np.asarray(run_lengths.decode(_packed(segmentation, *size)), np.bool_)


def _packed(segmentation: Any, height: int, width: int) -> Any:
    """Polygons, or run lengths of either kind, as packed run lengths."""
    try:
        if isinstance(segmentation, dict):
            return _packed_run_lengths(segmentation, height, width)
        polygons = [p for p in segmentation if len(p) >= POLYGON_NUMBERS and len(p) % 2 == 0]
        if not polygons:
            raise ImageError("label: a segmentation has no polygon of three points or more")
        return run_lengths.merge(run_lengths.frPyObjects(polygons, height, width))
    except ImageError:
        raise
    except Exception as error:  # what other people's files make the library raise
        raise ImageError(f"label: a segmentation cannot be read: {error}") from None


def _packed_run_lengths(segmentation: dict[str, Any], height: int, width: int) -> Any:
    size, counts = [int(side) for side in segmentation["size"]], segmentation["counts"]
    if size != [height, width]:
        raise ImageError(
            f"label: a segmentation is of {size[0]}×{size[1]}, its image {height}×{width}"
        )
    if not isinstance(counts, list):
        return {"size": size, "counts": counts.encode() if isinstance(counts, str) else counts}
    if sum(counts) != height * width:
        raise ImageError("label: run lengths do not add up to the image's pixels")
    return run_lengths.frPyObjects(segmentation, height, width)


def _taxonomy_of(file: CocoFile) -> Taxonomy:
    """A taxonomy of the file's categories; equal names get their ids behind them."""
    require_classes(len(file.categories), f"the COCO file {file.name}")
    counts = Counter(file.categories.values())
    pairs = file.categories.items()
    names = [f"{name} {number}" if counts[name] > 1 else name for number, name in pairs]
    return Taxonomy(file.name, tuple(names))


def _classes_by_name(file: CocoFile, taxonomy: Taxonomy, left_out: LeftOutCounts) -> dict[int, int]:
    classes = {folded(name): cls for cls, name in enumerate(taxonomy.classes)}
    names = list(file.categories.values())
    unknown = [name for name in names if folded(name) not in classes]
    if not unknown:
        return {number: classes[folded(name)] for number, name in file.categories.items()}
    if len(names) != len(taxonomy.classes):
        raise InputError(
            f"the taxonomy {taxonomy.name!r} has no class {unknown[0]!r}, a category of "
            f"{file.name} ({len(unknown)} of its {len(names)} categories are unknown); "
            "name its classes as the categories, or leave out --taxonomy"
        )
    left_out.remarks.append(
        f"labels: categories of {file.name} became classes in the order of their ids, for example "
        f"{unknown[0]!r} {taxonomy.classes[names.index(unknown[0])]!r}"
    )
    return {number: cls for cls, number in enumerate(file.categories)}


def _folded_name(path: str) -> str:
    return folded(PurePosixPath(path).name)


def _unique(
    form: Callable[[str], str], names: Sequence[str], without: Iterable[int]
) -> dict[str, int]:
    """The number of each name by its form, where one name only has that form."""
    excluded = set(without)
    keys = {n: form(name) for n, name in enumerate(names) if n not in excluded}
    counts = Counter(keys.values())
    return {key: n for n, key in keys.items() if counts[key] == 1}
