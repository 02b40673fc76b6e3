"""Codes of a shard: images read together where they are small and alike, told if unreadable."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.rendering import Picture
from stego_core.masks.patch_codes import Windows
from tasks.corpus.index import Entry, IndexReader
from tasks.engine.stage import Stopwatch
from tasks.masks.mask_source import MaskSource
from tasks.masks.shard_codes import image_codes


class Index:
    """Pictures by the entries' ids; None cannot be read."""

    dump = "d"

    def __init__(self, pictures: dict[str, Picture | None]) -> None:
        self.pictures = pictures

    def images(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Picture | ImageError]]:
        for entry in entries:
            yield entry, self.pictures[entry["image_id"]] or ImageError(f"no {entry['image_id']}")


class Source:
    """Codes are an image's first pixel; `groups` are the sizes of what was read together."""

    def __init__(self, resolution: int = 32, kept: Sequence[str] = ()) -> None:
        self.resolution, self.kept, self.groups = resolution, kept, list[int]()

    def windows(self) -> Windows:
        return Windows(resolution=self.resolution)

    def build(self, device: str) -> "Source":
        return self

    def kept_codes(self, dump: str, image_id: str) -> NDArray[np.float32] | None:
        return np.full((1, 1, 3), -1, np.float32) if image_id in self.kept else None

    def codes_of(self, images: Any, valid: Any) -> list[NDArray[np.float32]]:
        assert len({image.shape for image in images}) == 1
        assert len(valid) == len(images)
        self.groups.append(len(images))
        return [image[:1, :1].astype(np.float32) for image in images]


def picture(value: int, *size: int) -> Picture:
    return Picture(np.full((*size, 3), value, np.uint8), None)


PICTURES = {
    "a": picture(1, 32, 32), "b": picture(2, 32, 32), "c": None, "d": picture(4, 32, 32),
    "e": picture(5, 32, 40), "f": picture(6, 32, 40), "g": None,
}  # fmt: skip


def read(source: Source) -> list[float | str]:
    """What comes of each image, in order: the code's value or the error."""
    entries = cast(list[Entry], [{"image_id": name} for name in PICTURES])
    index, spec = cast(IndexReader, Index(PICTURES)), cast(MaskSource, source)
    found = image_codes(index, entries, spec, "cpu", Stopwatch())
    return [str(each) if isinstance(each, ImageError) else float(each[1].flat[0]) for each in found]


EXPECTED = [1, 2, "no c", 4, 5, 6, "no g"]


def test_small_images_of_one_size_are_read_together() -> None:
    source = Source()
    assert read(source) == EXPECTED
    assert source.groups == [2, 1, 2]


@pytest.mark.parametrize("resolution", [448, 512])
def test_others_are_read_one_by_one(resolution: int) -> None:
    source = Source(resolution)
    assert read(source) == EXPECTED
    assert source.groups == [1] * 5


def test_what_is_kept_is_not_read() -> None:
    source = Source(kept=list(PICTURES))
    assert read(source) == [-1, -1, "no c", -1, -1, -1, "no g"]
    assert source.groups == []
