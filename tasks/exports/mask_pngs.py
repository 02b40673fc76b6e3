"""Format masks: a palette PNG per image, whose pixel values are class ids, and a legend."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.exports.writer import LabelledImage, Writer, legend
from tasks.images import image_codecs


class Masks(Writer):
    """`masks/DUMP/IMAGE_ID.png`: pixel values are the shown classes' ids, 255 is void.

    `legend.json`: {"void": 255, "classes": [{"id", "name", "colour"}]}.
    """

    names = ("masks", "legend.json")

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write the legend."""
        self.colours = classes.colours()
        document = {"void": VOID_BYTE, "classes": legend(classes)}
        content = json.dumps(document, indent=1, ensure_ascii=False)
        self.target.write("legend.json", content.encode())

    def add(self, image: LabelledImage) -> None:
        """Write the image's mask."""
        self.target.write(
            f"masks/{image.name}.png", image_codecs.encode_mask(image.ids, self.colours)
        )

    def end(self) -> Mapping[str, Path]:
        """Nothing: every file is an image's own."""
        return {}
