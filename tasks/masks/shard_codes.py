"""Codes of a shard's images, on their way from the first step to the second."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.rendering import Picture
from stego_core.masks.patch_codes import Windows, images_at_once
from tasks.corpus.index import Entry, IndexReader
from tasks.engine.stage import Stopwatch
from tasks.masks.mask_source import MaskSource


@dataclass
class ShardCodes:
    """Codes of a shard's images.

    Attributes:
        codes: (h, w, D) float32 by row; none of an image that could not be read.
        invalid: reason by row.
        seconds: time spent.
    """

    codes: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    invalid: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def image_codes(
    index: IndexReader,
    entries: Sequence[Entry],
    spec: MaskSource,
    device: str,
    watch: Stopwatch,
) -> Iterator[tuple[Picture, NDArray[np.float32]] | ImageError]:
    """Each image and its codes (h, w, D) float32, or why it cannot be read.

    Small images of one size are read together.
    """
    for group in watch.each("read", _alike(index.images(entries), spec.windows())):
        pictures = [picture for _, picture in group if isinstance(picture, Picture)]
        if not pictures:
            yield from (error for _, error in group if isinstance(error, ImageError))
            continue
        with watch("infer"):
            kept = [spec.kept_codes(index.dump, entry["image_id"]) for entry, _ in group]
            codes = [each for each in kept if each is not None]
            if len(codes) < len(pictures):
                pixels = [picture.pixels for picture in pictures]
                codes = spec.build(device).codes_of(pixels, [picture.valid for picture in pictures])
        yield from zip(pictures, codes, strict=True)


def _alike(
    images: Iterable[tuple[Entry, Picture | ImageError]], view: Windows
) -> Iterator[list[tuple[Entry, Picture | ImageError]]]:
    """Images in order; those of one size that are read together are together, errors alone."""
    group: list[tuple[Entry, Picture | ImageError]] = []
    for entry, picture in images:
        if group and not _fits(picture, group[0][1], len(group), view):
            yield group
            group = []
        group.append((entry, picture))
    if group:
        yield group


def _fits(
    picture: Picture | ImageError, first: Picture | ImageError, count: int, view: Windows
) -> bool:
    """Whether an image may be read with `count` others, of which one is the first."""
    if isinstance(picture, ImageError) or isinstance(first, ImageError):
        return False
    height, width = first.pixels.shape[:2]
    return picture.pixels.shape == first.pixels.shape and count < images_at_once(
        view, height * width
    )
