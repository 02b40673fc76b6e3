"""Format voc: folders of Pascal VOC's segmentation task, as torchvision, CVAT and Datumaro read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stego_core.errors import OptionError
from stego_core.images.palette import rgb
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.exports.writer import LabelledImage, Writer, legend
from tasks.images import image_codecs

BACKGROUND, IGNORED = "background", "ignored"
"""Names that readers of label maps give to black and to the colour of void."""
VOID_COLOUR = (224, 224, 192)
"""Of void pixels in VOC's own masks."""


class Voc(Writer):
    """`SegmentationClass/DUMP/IMAGE_ID.png`, `ImageSets/Segmentation/default.txt`, `labelmap.txt`.

    VOC's index 0 is background. A class that is called background gets it; every other shown class
    gets 1, 2, 3 and so on in order of its id, so that line n of the label map, from 0, is pixel
    value n. Without a class of that name no pixel is 0. Ignored pixels, and those without data, are
    255, VOC's void; where there are some, the label map ends with its colour, called `ignored`, and
    so it does where classes are ignored. Readers that
    go by colour instead see the class colours, and black for background.
    """

    names = ("SegmentationClass", "ImageSets", "JPEGImages", "labelmap.txt")
    options = frozenset({"with_images"})

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write the label map.

        Raises:
            OptionError: it cannot hold a name, or two classes have one colour.
        """
        rows = legend(classes)
        others = [row for row in rows if row["name"].casefold() != BACKGROUND]
        entries = [
            (BACKGROUND, (0, 0, 0)),
            *((row["name"], rgb(row["colour"])) for row in others),
        ]
        self.indices = np.full(256, VOID_BYTE, np.uint8)
        for row in rows:
            self.indices[row["id"]] = 1 + others.index(row) if row in others else 0
        self.colours = np.zeros((256, 3), np.uint8)
        self.colours[: len(entries)] = [colour for _, colour in entries]
        self.colours[VOID_BYTE] = VOID_COLOUR
        self.entries, self.void = (
            entries,
            any(classes.display_table()[: len(classes.entries)] == VOID_BYTE),
        )
        _refuse([*entries, (IGNORED, VOID_COLOUR)] if self.void else entries)
        self.list = self.target.scratch.file("default.txt")

    def add(self, image: LabelledImage) -> None:
        """Write the image's mask, and the image itself if that is wanted."""
        image.require_plain_name()
        if not self.void and (image.ids == VOID_BYTE).any():  # some pixels hold no data
            _refuse([*self.entries, (IGNORED, VOID_COLOUR)])
            self.void = True
        mask = image_codecs.encode_mask(self.indices[image.ids], self.colours)
        if self.chosen.with_images:
            upright = image.stored == image_codecs.EncodedImage("JPEG", 1)
            content = image.content if upright else image_codecs.encode_photo(image.pixels)
            self.target.write(f"JPEGImages/{image.name}.jpg", content)
        self.target.write(f"SegmentationClass/{image.name}.png", mask)
        self.list.write(f"{image.name}\n")

    def end(self) -> Mapping[str, Path]:
        """The label map, and the list of images."""
        entries = [*self.entries, (IGNORED, VOID_COLOUR)] if self.void else self.entries
        lines = [f"{name}:{','.join(map(str, colour))}::\n" for name, colour in entries]
        labels = self.target.scratch.file("labelmap.txt")
        labels.write("".join(["# label:color_rgb:parts:actions\n", *lines]))
        return {
            "ImageSets/Segmentation/default.txt": self.list.finished(),
            "labelmap.txt": labels.finished(),
        }


def _refuse(entries: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    """Refuse label maps that readers would misunderstand."""
    by_colour: dict[tuple[int, int, int], str] = {}
    for number, (name, colour) in enumerate(entries):
        if ":" in name or name.startswith("#"):
            raise OptionError(
                f"the class {name!r} cannot stand in VOC's label map, whose fields end with ':' "
                "and whose comments begin with '#'; give it another name"
            )
        if name in [other for other, _ in entries[:number]]:
            raise OptionError(
                f"a class is called {name!r}, which VOC's label map keeps for void; give it "
                "another name"
            )
        if colour in by_colour:
            raise OptionError(
                f"the classes {by_colour[colour]} and {name} have the same colour {colour}, and "
                "readers of VOC masks go by colours; give one of them another"
            )
        by_colour[colour] = name
