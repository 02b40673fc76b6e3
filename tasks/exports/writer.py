"""What a format's writer is given, image by image, and what it gives back."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.errors import ImageError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.regions import Region, regions
from stego_core.labels.void import VOID_BYTE
from stego_core.masks.margins import MarginSums, uncertainty
from tasks.corpus.index import Entry, IndexReader
from tasks.exports.scratch_files import TextFile
from tasks.images import image_codecs, rendering
from tasks.options import ExportOptions
from tasks.storage.uploads import Uploads
from tasks.workspace import layout

CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters of file names that neither XML nor a list of lines can hold."""


@dataclass(frozen=True)
class Source:
    """One dump's masks, which lie in the folder `masks`.

    Attributes:
        class_of: (256,) uint8, the class that each stored id counts as.
        invalid: why rows of the index have no mask.
        margin_sums: of all its masks; None where an earlier version made them.
    """

    index: IndexReader
    masks: str
    class_of: NDArray[np.uint8]
    invalid: Mapping[int, str]
    margin_sums: MarginSums | None

    @property
    def dump(self) -> str:
        """The dump's name."""
        return self.index.dump


@dataclass(frozen=True)
class LabelledImage:
    """An image and its mask; `row` and `entry` are those of the dump's index.

    Each part is read when it is first needed, which raises ImageError where it is not there any
    more, or is not what was indexed.
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
        return self.source.index.uri(self.entry)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, as displayed."""
        return int(self.entry["height"]), int(self.entry["width"])

    @cached_property
    def ids(self) -> NDArray[np.uint8]:
        """(H, W) uint8 class ids: merged clusters have their class's id, ignored ones VOID_BYTE."""
        return self.source.class_of[self.clusters]

    @cached_property
    def clusters(self) -> NDArray[np.uint8]:
        """(H, W) uint8 cluster ids."""
        return self._read("mask", layout.mask(self.source.masks, self.entry["image_id"]))

    @cached_property
    def margins(self) -> NDArray[np.uint8]:
        """(H, W) uint8 margins, 255 where the mask is certain."""
        path = layout.margins(self.source.masks, self.entry["image_id"])
        return self._read("map of confidence", path)

    @property
    def uncertainty(self) -> float:
        """As the table of confidence has it, 0 to 1.

        Raises:
            ImageError: an earlier version made its mask.
        """
        dump = self.source.margin_sums
        if dump is None:
            raise ImageError("its mask was made by an earlier version; make it with `stego masks`")
        image = MarginSums.of(self.clusters, self.margins, len(dump.pixels))
        return float(uncertainty(image.own_uncertainty, image.shares(), dump))

    @cached_property
    def content(self) -> bytes:
        """The image file's bytes."""
        return self.source.index.content(self.entry)

    @cached_property
    def stored(self) -> image_codecs.EncodedImage:
        """How the image file stores its pixels."""
        return rendering.stored(self.content, int(self.source.index.manifest["max_pixels"]))

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, upright."""
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
        """Objects of the mask, by the options."""
        return list(regions(self.ids, self.margins, options.instances, options.min_area))

    def upright_file(self) -> tuple[str, bytes]:
        """Path and bytes of an image file for tools that ignore EXIF orientation.

        It is the original where that is stored upright, else a PNG whose name has `.png` added.
        """
        if self.stored.orientation == 1:
            return self.path, self.content
        return f"{self.path}.png", image_codecs.encode_png(Image.fromarray(self.pixels))

    def require_plain_name(self) -> None:
        """Raise an ImageError for a name that a line of text or XML cannot hold."""
        if CONTROL.search(self.path):
            raise ImageError("its name has control characters, which this format cannot hold")


@dataclass(frozen=True)
class Target:
    """Where a writer's files go.

    Attributes:
        uploads: for files of one image each, written in the background.
        folder: a temporary one, for files that grow with every image.
        on_exit: closes what is open when the export ends or fails.
        files: those that grow and are part of the export, by their paths in it.
    """

    uploads: Uploads
    folder: Path
    on_exit: ExitStack
    files: dict[str, TextFile] = field(default_factory=dict)

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file of the export in the background."""
        self.uploads.write(path, content)

    def write_legend(self, classes: ClassNames) -> None:
        """Write `legend.json`: the classes, and the id of void."""
        document = {"void": VOID_BYTE, "classes": legend(classes)}
        self.write("legend.json", json.dumps(document, indent=1, ensure_ascii=False).encode())

    def file(self, path: str, head: str = "", tail: str = "") -> TextFile:
        """A new file of the export that grows with every image, between `head` and `tail`."""
        self.files[path] = self.scratch(path.replace("/", "-"), head, tail)
        return self.files[path]

    def scratch(self, name: str, head: str = "", tail: str = "") -> TextFile:
        """A new file that grows and is no part of the export by itself."""
        file = TextFile(self.folder / name, head, tail)
        self.on_exit.callback(file.file.close)
        return file


class Writer(ABC):
    """One format: `begin`, then `add` for each image in order, then `end`.

    Attributes:
        names: files and folders that it makes, at the top of the export.
        reads: properties of LabelledImage that it needs beside `ids`; they are read ahead.
        accepts: names of the ExportOptions that it uses.
    """

    names: ClassVar[Sequence[str]]
    reads: Sequence[str] = ()
    accepts: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, target: Target, options: ExportOptions) -> None:
        """Write to a target."""
        self.target, self.options = target, options

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

    def end(self) -> Mapping[str, Path]:
        """Files to be stored last, by their paths: without them the export is not whole."""
        return {path: file.finished() for path, file in self.target.files.items()}

    def image_name(self, image: LabelledImage) -> str:
        """The name of an image's file; the file is exported below `images/` with --with-images."""
        if not self.options.with_images:
            return image.path
        name, content = image.upright_file()
        self.target.write(f"images/{name}", content)
        return name


def legend(classes: ClassNames) -> list[dict[str, Any]]:
    """The classes that are shown, by their ids: for manifests and legends."""
    rows = [(number, classes.entries[number]) for number in classes.kept()]
    return [{"id": number, "name": row.name, "colour": row.colour} for number, row in rows]
