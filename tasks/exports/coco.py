"""Format coco: one JSON file of images, categories and annotations with compressed run lengths."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as run_lengths

from stego_core.images.palette import rgb
from stego_core.labels.class_names import ClassNames
from stego_core.labels.regions import Region, runs_by_columns
from tasks.exports.writer import LabelledImage, Writer, legend

INFO = "unsupervised segmentation by stego-flows"
FIRST_CATEGORY = 1
"""Readers take category 0 for background; a class's category is its id plus this."""


class Coco(Writer):
    """`annotations.json`, an annotation per class and image, or per connected part of one.

    Category ids are class ids plus 1. `iscrowd` is 0, as in COCO-Stuff: readers leave crowds out
    of training. Beyond COCO, `score` is the mean margin of the annotation's pixels. `file_name`
    is DUMP/PATH, below `images/` if the images are exported too; `coco_url` is where an image lies.
    """

    names = ("annotations.json", "images")
    reads = ("margins",)
    accepts = frozenset({"instances", "min_area", "with_images"})

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Begin the list of images, and beside it the one of annotations."""
        categories = [
            {
                "id": row["id"] + FIRST_CATEGORY,
                "name": row["name"],
                "supercategory": "",
                "color": list(rgb(row["colour"])),
            }
            for row in legend(classes)
        ]
        head = {"info": {"description": INFO}, "licenses": [], "categories": categories}
        begin = f'{json.dumps(head)[:-1]},\n"images":[\n'
        self.images = self.target.file("annotations.json", begin, "\n]}\n")
        self.annotations = self.target.scratch("annotations.part")

    def add(self, image: LabelledImage) -> None:
        """Add the image, and an annotation for each of its regions."""
        regions, name = image.regions(self.options), self.image_name(image)
        height, width = image.size
        number = self.images.items + 1
        self.images.item(
            {
                "id": number,
                "file_name": name,
                "height": height,
                "width": width,
                "coco_url": image.uri,
                "dump": image.dump,
                "image_id": image.entry["image_id"],
            }
        )
        for region in regions:
            ids = {"id": self.annotations.items + 1, "image_id": number}
            self.annotations.item({**ids, **_annotation(region, height, width)})

    def end(self) -> Mapping[str, Path]:
        """The annotations behind the images."""
        self.images.write('\n],\n"annotations":[\n')
        self.images.append(self.annotations)
        return super().end()


def _annotation(region: Region, height: int, width: int) -> dict[str, Any]:
    counts = runs_by_columns(region, height, width)
    packed = run_lengths.frPyObjects({"counts": counts, "size": [height, width]}, height, width)
    return {
        "category_id": region.cls + FIRST_CATEGORY,
        "segmentation": {"size": [height, width], "counts": packed["counts"].decode()},
        "area": region.area,
        "bbox": list(region.box),
        "iscrowd": 0,
        "score": round(region.score, 4),
    }
