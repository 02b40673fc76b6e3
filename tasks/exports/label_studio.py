"""Format labelstudio: tasks with brush masks as predictions, and the labelling configuration."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import OptionError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.regions import Region
from tasks.exports.writer import LabelledImage, Target, Writer, legend
from tasks.labels.label_studio_brush import brush_codec
from tasks.options import ExportOptions
from tasks.storage.storage import Storage

IMAGE = "image"
"""The tag of the configuration that shows an image."""
BRUSH = "brush"
"""The tag of the configuration that holds the labels."""
MODEL = "stego-flows"
"""The model version that every prediction states."""
LOCAL_FILES = "/data/local-files/?d="
"""The address from which Label Studio serves files of its document root."""


class LabelStudio(Writer):
    """`tasks.json` to import, and `config.xml` for the project's labelling interface.

    Local images are referred to as `/data/local-files/?d=PATH`, PATH below the document root that
    Label Studio serves; images elsewhere by their URI, which a source storage of the project
    resolves. `score` of an image is 1 − its uncertainty, so that sorting by it gives the order of
    `stego status --uncertain`; `score` of a result is the mean margin of its pixels.
    """

    names = ("tasks.json", "config.xml")
    reads = ("margins",)
    accepts = frozenset({"instances", "min_area", "document_root"})

    def __init__(self, target: Target, options: ExportOptions) -> None:
        """Prepare the encoder.

        Raises:
            OptionError: Label Studio's package is not installed.
        """
        super().__init__(target, options)
        codec = brush_codec("exports for Label Studio")
        self.encode: Callable[[NDArray[np.uint8]], list[int]] = codec.encode_rle
        self.root = Storage.at(options.document_root)

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write the configuration."""
        rows = legend(classes)
        self.labels = {row["id"]: row["name"] for row in rows}
        view = Element("View")
        SubElement(view, "Image", name=IMAGE, value=f"${IMAGE}", zoom="true")
        brush = SubElement(view, "BrushLabels", name=BRUSH, toName=IMAGE)
        for row in rows:
            SubElement(brush, "Label", value=row["name"], background=row["colour"])
        indent(view)
        self.target.write("config.xml", tostring(view, encoding="utf-8") + b"\n")
        self.tasks = self.target.file("tasks.json", "[\n", "\n]\n")

    def add(self, image: LabelledImage) -> None:
        """Add the image's task; an OptionError where it is a member of an archive."""
        if image.entry.get("packing") is not None:
            raise OptionError(
                f"{image.path} is a member of an archive, which Label Studio cannot show; unpack "
                "the archive into a folder and index that as a dump"
            )
        regions = enumerate(image.regions(self.options), 1)
        results = [self._result(str(number), region, image.size) for number, region in regions]
        score = round(1 - image.uncertainty, 4)
        prediction = {"model_version": MODEL, "score": score, "result": results}
        data = {
            IMAGE: reference(image.uri, self.root),
            "dump": image.dump,
            "image_id": image.entry["image_id"],
        }
        self.tasks.item({"data": data, "predictions": [prediction]})

    def _result(self, number: str, region: Region, size: tuple[int, int]) -> dict[str, Any]:
        mask = np.zeros(size, np.uint8)
        left, top, width, height = region.box
        mask[top : top + height, left : left + width][region.mask] = 255
        runs = self.encode(np.repeat(mask.ravel(), 4))  # of red, green, blue and alpha
        return {
            "id": number,
            "type": "brushlabels",
            "from_name": BRUSH,
            "to_name": IMAGE,
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "score": round(region.score, 4),
            "value": {"format": "rle", "rle": runs, "brushlabels": [self.labels[region.cls]]},
        }


def reference(uri: str, root: Storage) -> str:
    """The address by which Label Studio finds an image.

    Raises:
        OptionError: it lies on this machine outside the document root.
    """
    if not Storage(uri).is_local:
        return uri.replace("s3a://", "s3://", 1)
    served = Path(root.uri)
    if not (root.is_local and Path(uri).is_relative_to(served)):
        raise OptionError(
            f"{uri} is not below {root.uri}, the document root that Label Studio serves; give "
            "another --document-root, the same as its LOCAL_FILES_DOCUMENT_ROOT"
        )
    return LOCAL_FILES + quote(str(Path(uri).relative_to(served)))
