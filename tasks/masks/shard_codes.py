"""Codes of a shard's images, on their way from the first step to the second."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.images.rendering import Picture
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
    """Each image and its codes (h, w, D) float32, or why it cannot be read."""
    for entry, image in watch.each("read", index.images(entries)):
        if isinstance(image, ImageError):
            yield image
            continue
        with watch("infer"):
            codes = spec.kept_codes(index.dump, entry["image_id"])
            if codes is None:
                codes = spec.build(device).codes(image.pixels, image.valid)
        yield image, codes
