"""The paper's data sets on disk: the images of a split, and how each is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from stego_core.labels.void import VOID_BYTE
from stego_core.paper.published_protocol import Benchmark, Split
from tasks.corpus.listing import read_file
from tasks.images import image_codecs
from tasks.paper import mat_files
from tasks.storage.storage import Storage

MAX_PIXELS = 128_000_000
"""Larger images and labels are refused."""
CITY_IMAGE = "_leftImg8bit.png"
"""How Cityscapes' images end."""
CITY_LABEL = "_gtFine_labelIds.png"
"""How Cityscapes' labels end."""
FORMS = {
    "cocostuff": (
        "images/{train2017,val2017}/ID.jpg, annotations/{train2017,val2017}/ID.png (fine ids 0 to "
        "181, void 255) and curated/{train2017,val2017}/LIST.txt (one ID a line)"
    ),
    "cityscapes": (
        "leftImg8bit/{train,val}/CITY/*_leftImg8bit.png and "
        "gtFine/{train,val}/CITY/*_gtFine_labelIds.png"
    ),
    "potsdam": (
        "imgs/ID.mat (array img, height × width × RGB+IR), gt/ID.mat (array gt, ids 0 to 5) and "
        "labelled_train.txt, labelled_test.txt (one ID a line)"
    ),
}
"""The files that a data set must have, by form."""


class Pair(NamedTuple):
    """An image's name in the data set, and the paths of image and label there."""

    name: str
    image: str
    label: str


@dataclass(frozen=True)
class DataSet:
    """A data set in the folder that holds it; small and picklable."""

    benchmark: Benchmark
    storage: Storage

    @classmethod
    def at(cls, location: str, benchmark: Benchmark) -> "DataSet":
        """The data set in a folder, or in the folder of its name there, as STEGO's loaders expect.

        Raises:
            InputError: the location is no path or URI.
        """
        folder = Storage.at(location)
        inside = folder.exists(benchmark.form)
        return cls(benchmark, Storage(folder.full(benchmark.form)) if inside else folder)

    def pairs(self, split: Split) -> list[Pair]:
        """Images and labels of a split, in the order of its list, else of their names.

        A missing image is noticed only when it is read.

        Raises:
            InputError: the split is not there; the message says which files are expected.
        """
        if self.benchmark.form == "cityscapes":
            return self._cityscapes(split)
        if self.benchmark.form == "potsdam":
            names = self._list(self.benchmark.lists[split], "imgs", "gt")
            return [Pair(name, f"imgs/{name}.mat", f"gt/{name}.mat") for name in names]
        folder = f"{split}2017"
        lists = f"curated/{folder}/{self.benchmark.lists[split]}"
        names = self._list(lists, f"images/{folder}", f"annotations/{folder}")
        return [
            Pair(name, f"images/{folder}/{name}.jpg", f"annotations/{folder}/{name}.png")
            for name in names
        ]

    def require(self, splits: Sequence[Split] = get_args(Split)) -> None:
        """Refuse a data set that lacks a split, or the labels of one, as `pairs` does."""
        for split in splits:
            self.pairs(split)

    def _cityscapes(self, split: Split) -> list[Pair]:
        folder = f"leftImg8bit/{split}"
        for needed in (folder, f"gtFine/{split}"):
            if not self.storage.exists(needed):
                raise self._absent(needed)
        paths = (file.path for file in Storage(self.storage.full(folder)).files())
        names = [path.removesuffix(CITY_IMAGE) for path in paths if path.endswith(CITY_IMAGE)]
        if not names:
            raise self._absent(f"{folder}/CITY/*{CITY_IMAGE}")
        return [
            Pair(name, f"{folder}/{name}{CITY_IMAGE}", f"gtFine/{split}/{name}{CITY_LABEL}")
            for name in names
        ]

    def _list(self, path: str, *folders: str) -> list[str]:
        """Names in a list file, whose images and labels lie in these folders."""
        try:
            lines = self.storage.read(path).decode().split("\n")
        except FileNotFoundError:
            raise self._absent(path) from None
        except UnicodeDecodeError:
            raise InputError(f"{self.storage.full(path)} is not a text file of names") from None
        for folder in folders:
            if not self.storage.exists(folder):
                raise self._absent(folder)
        names = [line.strip() for line in lines if line.strip()]
        wrong = [name for name in names if ".." in name.split("/") or name.startswith("/")]
        if wrong or not names:
            content = f"the name {wrong[0]!r}" if wrong else "no names"
            raise InputError(f"{self.storage.full(path)} holds {content}; expected one ID a line")
        return names

    def _absent(self, path: str) -> InputError:
        return InputError(
            f"{self.storage.uri} has no {path}; for {self.benchmark.name} put "
            f"{FORMS[self.benchmark.form]} under the folder given with --data"
        )

    def read(self, pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """RGB pixels (H, W, 3) uint8 and class ids (H, W) uint8, void 255, of a pair.

        Pixels stay as they are stored: EXIF orientation does not apply to labels.

        Raises:
            ImageError: one of them cannot be read, or they do not belong together.
        """
        content = read_file(self.storage, pair.image)
        if self.benchmark.form == "potsdam":
            pixels = mat_files.rgb(content)
        else:
            pixels = image_codecs.decode(content, MAX_PIXELS, upright=False)
        try:
            ids = self._ids(pair)
        except InputError as error:
            raise ImageError(f"label {pair.label}: {error}") from None
        if ids.shape != pixels.shape[:2]:
            label_size, image_size = (f"{h}×{w}" for h, w in (ids.shape, pixels.shape[:2]))
            raise ImageError(f"label {pair.label} is {label_size}, its image {image_size}")
        return pixels, ids

    def _ids(self, pair: Pair) -> NDArray[np.uint8]:
        content = read_file(self.storage, pair.label)
        if self.benchmark.form == "potsdam":
            stored = mat_files.ids(content)
        else:
            stored = image_codecs.decode_labels(content, MAX_PIXELS)
        classes = self.benchmark.stored.apply(stored)
        return np.where(classes < 0, VOID_BYTE, classes).astype(np.uint8)
