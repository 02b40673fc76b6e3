"""Format cvat: "CVAT for images 1.1", one XML file with a mask per class and image."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from stego_core.labels.class_names import ClassNames
from stego_core.labels.regions import runs
from tasks.exports.writer import LabelledImage, Writer, legend

CONFIDENCE: dict[str, Any] = {
    "name": "confidence",
    "mutable": False,
    "input_type": "text",
    "default_value": "",
    "values": [""],
}
"""The attribute of every label: the mean margin of a mask's pixels, 0 to 1."""


class Cvat(Writer):
    """`annotations.xml`, and `labels.json` for the Raw tab of CVAT's label constructor.

    A mask's `rle` are runs inside its box, row by row, outside first. Images are called DUMP/PATH,
    below `images/` if they are exported too; CVAT finds its frames by these names.
    """

    names = ("annotations.xml", "labels.json", "images")
    reads = ("margins",)
    options = frozenset({"instances", "min_area", "with_images"})

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write the labels."""
        rows = legend(classes)
        self.labels = {row["id"]: row["name"] for row in rows}
        labels = [
            {"name": row["name"], "color": row["colour"], "attributes": [CONFIDENCE]}
            for row in rows
        ]
        self.target.write("labels.json", json.dumps(labels, indent=1).encode())
        self.file, self.number = self.target.scratch.file("annotations.xml"), 0
        self.xml = XMLGenerator(self.file, "utf-8")
        self.xml.startDocument()
        self._open("annotations")
        self._leaf("version", "1.1")
        self._open("meta", "task")
        self._leaf("name", ", ".join(dumps))
        self._leaf("mode", "annotation")
        self._open("labels")
        for row in rows:
            self._open("label")
            self._leaf("name", row["name"])
            self._leaf("color", row["colour"])
            self._leaf("type", "any")
            self._open("attributes", "attribute")
            for name, value in CONFIDENCE.items():
                self._leaf(name, "" if value == [""] else str(value))
            self._close("attribute", "attributes", "label")
        self._close("labels", "task", "meta")

    def add(self, image: LabelledImage) -> None:
        """Add the image with its masks."""
        image.require_plain_name()
        found = list(image.regions(self.chosen))
        name = image.path
        if self.chosen.with_images:
            name, content = image.upright_file()
            self.target.write(f"images/{name}", content)
        height, width = image.size
        place = {"id": self.number, "name": name, "width": width, "height": height}
        self._element("image", place)
        for region in found:
            left, top, across, down = region.box
            shape = {"label": self.labels[region.cls], "source": "auto", "occluded": 0}
            box = {"left": left, "top": top, "width": across, "height": down, "z_order": 0}
            lengths = ", ".join(map(str, runs(region.mask)))
            self._element("mask", {**shape, "rle": lengths, **box})
            self._leaf("attribute", f"{region.score:.4f}", {"name": CONFIDENCE["name"]})
            self._close("mask")
        self._close("image")
        self.number += 1

    def end(self) -> Mapping[str, Path]:
        """The XML file."""
        self._close("annotations")
        self.xml.endDocument()
        return {"annotations.xml": self.file.finished()}

    def _begin(self, name: str, attributes: Mapping[str, Any]) -> None:
        told = {key: str(value) for key, value in attributes.items()}
        self.xml.startElement(name, AttributesImpl(told))

    def _element(self, name: str, attributes: Mapping[str, Any]) -> None:
        self._begin(name, attributes)
        self.xml.ignorableWhitespace("\n")

    def _open(self, *names: str) -> None:
        for name in names:
            self._element(name, {})

    def _close(self, *names: str) -> None:
        for name in names:
            self.xml.endElement(name)
            self.xml.ignorableWhitespace("\n")

    def _leaf(self, name: str, text: str, attributes: Mapping[str, str] | None = None) -> None:
        self._begin(name, attributes or {})
        self.xml.characters(text)
        self._close(name)
