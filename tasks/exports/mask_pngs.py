"""Format masks: a palette PNG per image, whose pixel values are class ids, and a legend."""

from collections.abc import Sequence

from stego_core.labels.class_names import ClassNames
from tasks.exports.writer import LabelledImage, Writer
from tasks.images import image_codecs


class Masks(Writer):
    """`masks/DUMP/IMAGE_ID.png`: pixel values are the shown classes' ids, 255 is void.

    `legend.json`: {"void": 255, "classes": [{"id", "name", "colour"}]}.
    """

    names = ("masks", "legend.json")

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write the legend."""
        self.colours = classes.colours()
        self.target.write_legend(classes)

    def add(self, image: LabelledImage) -> None:
        """Write the image's mask."""
        content = image_codecs.encode_mask(image.ids, self.colours)
        self.target.write(f"masks/{image.name}.png", content)
