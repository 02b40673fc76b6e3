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

BACKGROUND = "background"
"""The name that readers of label maps give to black."""
IGNORED = "ignored"
"""The name that readers of label maps give to the colour of void."""
VOID_COLOUR = (224, 224, 192)
"""The colour of void pixels in VOC's own masks."""
Entry = tuple[str, tuple[int, int, int]]
"""A class of the label map: its name and its colour."""


class Voc(Writer):
    """`SegmentationClass/DUMP/IMAGE_ID.png`, `ImageSets/Segmentation/default.txt`, `labelmap.txt`.

    VOC's index 0 is background: a class of that name gets it, else no pixel does. Every other shown
    class gets 1, 2, 3 and so on in order of its id, so that line n of the label map, from 0, is
    pixel value n. Ignored pixels and those without data are 255, VOC's void; where there are some,
    or classes are ignored, the label map ends with its colour, called `ignored`.
    """

    names = ("SegmentationClass", "ImageSets", "JPEGImages", "labelmap.txt")
    accepts = frozenset({"with_images"})

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Prepare the label map, which is checked here and written at the end."""
        rows = legend(classes)
        others = [row for row in rows if row["name"].casefold() != BACKGROUND]
        colours: list[Entry] = [(row["name"], rgb(row["colour"])) for row in others]
        self.entries: list[Entry] = [(BACKGROUND, (0, 0, 0)), *colours]
        self.indices = np.full(256, VOID_BYTE, np.uint8)
        for row in rows:
            self.indices[row["id"]] = 1 + others.index(row) if row in others else 0
        self.colours = np.zeros((256, 3), np.uint8)
        self.colours[: len(self.entries)] = [colour for _, colour in self.entries]
        self.colours[VOID_BYTE] = VOID_COLOUR
        self._check(any(classes.display_table()[: len(classes.entries)] == VOID_BYTE))
        self.list = self.target.file("ImageSets/Segmentation/default.txt")

    def add(self, image: LabelledImage) -> None:
        """Write the image's mask, and the image itself if --with-images is given."""
        image.require_plain_name()
        if not self.void and (image.ids == VOID_BYTE).any():
            self._check(void=True)  # some pixels hold no data
        mask = image_codecs.encode_mask(self.indices[image.ids], self.colours)
        if self.options.with_images:
            upright = image.stored == image_codecs.EncodedImage("JPEG", 1)
            content = image.content if upright else image_codecs.encode_photo(image.pixels)
            self.target.write(f"JPEGImages/{image.name}.jpg", content)
        self.target.write(f"SegmentationClass/{image.name}.png", mask)
        self.list.write(f"{image.name}\n")

    def _check(self, void: bool) -> None:
        """Refuse what readers would misunderstand; the label map gets void's colour if needed."""
        self.void = void
        self.entries += [(IGNORED, VOID_COLOUR)] if void else []
        _require_clear(self.entries)

    def end(self) -> Mapping[str, Path]:
        """The list of images, and the label map."""
        lines = [f"{name}:{','.join(map(str, colour))}::\n" for name, colour in self.entries]
        labels = self.target.file("labelmap.txt", "# label:color_rgb:parts:actions\n")
        labels.write("".join(lines))
        return super().end()


def _require_clear(entries: Sequence[Entry]) -> None:
    """Refuse label maps that readers would misunderstand.

    Raises:
        OptionError: a name cannot stand in one, or two classes have one colour.
    """
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
