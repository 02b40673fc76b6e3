"""Format cvat: "CVAT for images 1.1", one XML file with a mask per class and image."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from stego_core.labels.class_names import ClassNames
from stego_core.labels.regions import Region, runs
from tasks.exports.writer import LabelledImage, Writer, legend

CONFIDENCE: dict[str, Any] = {
    "name": "confidence",
    "mutable": False,
    "input_type": "text",
    "default_value": "",
    "values": [""],
}
"""The attribute of every label: the mean margin of a mask's pixels, 0 to 1."""
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'


class Cvat(Writer):
    """`annotations.xml`, and `labels.json` for the Raw tab of CVAT's label constructor.

    A mask's `rle` are runs inside its box, row by row, outside first. Images are called DUMP/PATH,
    below `images/` if they are exported too; CVAT finds its frames by these names.
    """

    names = ("annotations.xml", "labels.json", "images")
    reads = ("margins",)
    accepts = frozenset({"instances", "min_area", "with_images"})

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write the labels."""
        rows = legend(classes)
        self.labels = {row["id"]: row["name"] for row in rows}
        labels = [
            {"name": row["name"], "color": row["colour"], "attributes": [CONFIDENCE]}
            for row in rows
        ]
        self.target.write("labels.json", json.dumps(labels, indent=1).encode())
        self.file = self.target.file("annotations.xml", HEAD, "</annotations>\n")
        self.images = 0
        meta = Element("meta")
        task = _add(meta, "task", {"name": ", ".join(dumps), "mode": "annotation"})
        listed = SubElement(task, "labels")
        for row in rows:
            texts = {"name": row["name"], "color": row["colour"], "type": "any"}
            attributes = SubElement(_add(listed, "label", texts), "attributes")
            _add(attributes, "attribute", {**CONFIDENCE, "values": ""})
        self._write(meta)

    def add(self, image: LabelledImage) -> None:
        """Add the image with its masks."""
        image.require_plain_name()
        regions, name = image.regions(self.options), self.image_name(image)
        height, width = image.size
        numbers = {"id": self.images, "width": width, "height": height}
        element = Element("image", {"name": name, **_strings(numbers)})
        for region in regions:
            text = SubElement(self._mask(element, region), "attribute", name=CONFIDENCE["name"])
            text.text = f"{region.score:.4f}"
        self._write(element)
        self.images += 1

    def _mask(self, image: Element, region: Region) -> Element:
        left, top, width, height = region.box
        box = {"left": left, "top": top, "width": width, "height": height, "z_order": 0}
        texts = {"label": self.labels[region.cls], "source": "auto", "occluded": "0"}
        lengths = ", ".join(map(str, runs(region.mask)))
        return SubElement(image, "mask", {**texts, "rle": lengths, **_strings(box)})

    def _write(self, element: Element) -> None:
        self.file.write(tostring(element, encoding="unicode") + "\n")


def _add(parent: Element, name: str, texts: Mapping[str, Any]) -> Element:
    """Add an element with a child for each text; returns it."""
    element = SubElement(parent, name)
    for child, text in texts.items():
        SubElement(element, child).text = str(text)
    return element


def _strings(values: Mapping[str, int]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}
