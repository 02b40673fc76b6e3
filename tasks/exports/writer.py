"""What a format's writer is given, image by image, and what it gives back."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import ImageError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.regions import Region, regions
from stego_core.masks.margins import MarginSums, uncertainty
from tasks.corpus.index import Entry, IndexReader
from tasks.exports.scratch_files import Scratch
from tasks.images import image_codecs, rendering
from tasks.options import ExportOptions
from tasks.storage.uploads import Uploads
from tasks.workspace import layout

CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters of file names that neither XML nor a list of lines can hold."""


@dataclass(frozen=True)
class Source:
    """One dump's masks.

    Attributes:
        index: of the dump.
        masks: path of the folder of its masks.
        shown: (256,) uint8, the class that each stored id counts as.
        invalid: why rows of the index have no mask.
        sure: what all its margins add up to; None where an earlier version made them.
    """

    index: IndexReader
    masks: str
    shown: NDArray[np.uint8]
    invalid: Mapping[int, str]
    sure: MarginSums | None

    @property
    def dump(self) -> str:
        """The dump's name."""
        return self.index.dump


@dataclass(frozen=True)
class LabelledImage:
    """An image and its mask, each part of it read when it is first asked for.

    Attributes:
        source: its dump.
        row: in the dump's index.
        entry: of the index.
    """

    source: Source
    row: int
    entry: Entry

    @property
    def dump(self) -> str:
        """The dump's name."""
        return self.source.dump

    @property
    def name(self) -> str:
        """DUMP/IMAGE_ID, unique in an export."""
        return f"{self.dump}/{self.entry['image_id']}"

    @property
    def path(self) -> str:
        """DUMP/PATH, the image file's path below its dump's folder."""
        return f"{self.dump}/{self.entry['path']}"

    @property
    def uri(self) -> str:
        """Where the image file lies."""
        storage, path = self.source.index.file(self.entry)
        return storage.full(path)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, as displayed."""
        return int(self.entry["height"]), int(self.entry["width"])

    @cached_property
    def ids(self) -> NDArray[np.uint8]:
        """(H, W) uint8 classes as shown: merged ones are their root, ignored ones VOID.

        Raises:
            ImageError: there is no mask.
        """
        return self.source.shown[self.clusters]

    @cached_property
    def clusters(self) -> NDArray[np.uint8]:
        """(H, W) uint8 cluster ids.

        Raises:
            ImageError: there is no mask.
        """
        return self._read("mask", f"{self.source.masks}/{self.entry['image_id']}.png")

    @cached_property
    def margins(self) -> NDArray[np.uint8]:
        """(H, W) uint8 margins of 255, how sure the mask is.

        Raises:
            ImageError: there are none.
        """
        path = layout.margins(self.source.masks, str(self.entry["image_id"]))
        return self._read("map of confidence", path)

    @property
    def doubt(self) -> float:
        """As the table of confidence has it, 0 to 1.

        Raises:
            ImageError: an earlier version made its mask.
        """
        dump = self.source.sure
        if dump is None:
            raise ImageError("its mask was made by an earlier version; make it with `stego masks`")
        own = MarginSums.of(self.clusters, self.margins, len(dump.pixels))
        return float(uncertainty(own.own_doubt, own.shares(), dump))

    @cached_property
    def content(self) -> bytes:
        """The image file's bytes.

        Raises:
            ImageError: it cannot be read any more, or is not what was indexed.
        """
        return self.source.index.content(self.entry)

    @cached_property
    def stored(self) -> image_codecs.EncodedImage:
        """How the image file stores its pixels."""
        return rendering.stored(self.content, int(self.source.index.manifest["max_pixels"]))

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, upright.

        Raises:
            ImageError: as `content`.
        """
        return self.source.index.picture(self.content).pixels

    def _read(self, what: str, path: str) -> NDArray[np.uint8]:
        try:
            return image_codecs.decode_mask(self.source.index.workspace.storage.read(path))
        except FileNotFoundError:
            raise ImageError(
                f"its {what} is not there any more: {path}; remove {self.source.masks} and run "
                "`stego masks`"
            ) from None

    def regions(self, options: ExportOptions) -> list[Region]:
        """Objects of the mask, as the options want them."""
        found = regions(self.ids, self.margins, options.instances, options.min_area)
        return list(found)

    def upright_file(self) -> tuple[str, bytes]:
        """The image as a file for tools that do not look at EXIF orientation: path and bytes.

        The original where it is stored upright, else a PNG whose name has `.png` added.
        """
        if self.stored.orientation == 1:
            return self.path, self.content
        return f"{self.path}.png", image_codecs.encode_png(Image.fromarray(self.pixels))

    def require_plain_name(self) -> None:
        """Refuse names that a line of text or XML cannot hold.

        Raises:
            ImageError: it has control characters.
        """
        if CONTROL.search(self.path):
            raise ImageError("its name has control characters, which this format cannot hold")


@dataclass(frozen=True)
class Target:
    """Where a writer's files go.

    Attributes:
        uploads: files of one image each, written meanwhile.
        scratch: files that grow with every image, made on a local disk first.
    """

    uploads: Uploads
    scratch: Scratch

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file of the export, sooner or later."""
        self.uploads.write(path, content)


class Writer(ABC):
    """One format: `begin`, then `add` for each image in order, then `end`.

    Attributes:
        names: files and folders that it makes, at the top of the export.
        reads: what it asks of every LabelledImage beside `ids`; fetched ahead of `add`. Pixels
            are decoded only where they stand here or are asked for.
        options: names of the ExportOptions that it heeds.
    """

    names: ClassVar[Sequence[str]]
    reads: Sequence[str] = ()
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, target: Target, options: ExportOptions) -> None:
        """Write there; `chosen` are the options."""
        self.target, self.chosen = target, options

    @abstractmethod
    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write what comes before the images.

        Raises:
            OptionError: the format cannot hold these classes.
        """

    @abstractmethod
    def add(self, image: LabelledImage) -> None:
        """Write one image's part.

        Raises:
            ImageError: the format cannot hold this image; nothing of it was written.
        """

    @abstractmethod
    def end(self) -> Mapping[str, Path]:
        """Files to be stored last, by their paths: without them the export is not whole."""


def legend(classes: ClassNames) -> list[dict[str, Any]]:
    """The classes that are shown, by their ids: for manifests and legends."""
    rows = [(number, classes.entries[number]) for number in classes.kept()]
    return [{"id": number, "name": row.name, "colour": row.colour} for number, row in rows]
