"""Label files to class ids: ids of one channel, or colours that a taxonomy knows."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy
from stego_core.labels.void import VOID, VOID_BYTE
from tasks.files import tiff_pages
from tasks.images import image_codecs

MOST_LABELS = 255  # ids of labels that come without a taxonomy: below this
COLOUR_MODES = {"RGB", "RGBA", "P", "PA", "L", "LA", "1"}
"""Pillow's modes whose pixels are colours of eight bits."""


class LabelCounts(NamedTuple):
    """Pixels of the labels of some images."""

    pixels: list[int]  # of each class
    unnamed: int  # pixels of 255 that count as void although no taxonomy says so

    @classmethod
    def total(cls, results: Sequence[Mapping[str, Any]]) -> "LabelCounts":
        """The sum over the results of records."""
        pixels = sum_pixels([result.get("label_pixels", []) for result in results])
        return cls(pixels, sum(result.get("unnamed_void", 0) for result in results))


def pixels_of_classes(ids: NDArray[np.int16]) -> list[int]:
    """Pixels of each class id, void left out."""
    counts: list[int] = np.bincount(ids[ids >= 0].ravel()).tolist()
    return counts


def sum_pixels(counts: Sequence[Sequence[int]]) -> list[int]:
    """Pixels of each class added up; a shorter list lacks the last classes."""
    return [sum(column) for column in zip_longest(*counts, fillvalue=0)]


def size_mismatch(size: tuple[int, ...], expected: tuple[int, int], image: bytes) -> str:
    """Why a label of one size does not fit an image of another."""
    text = "is {}×{}, its image {}×{}".format(*size, *expected)
    turned = image_codecs.stored(image, expected[0] * expected[1]).orientation != 1
    if turned and size == expected[::-1]:
        text += ", as its EXIF orientation shows it; turn the label the same way"
    return text


def taxonomy_or_numbers(taxonomy: Taxonomy | None) -> Taxonomy:
    """The taxonomy, or one of numbered classes where there is none."""
    return taxonomy or Taxonomy.numbered(MOST_LABELS)


def label_page(content: bytes, page: int | None) -> bytes:
    """A label file's page of the same number; an ImageError if it lacks the page."""
    if page is None:
        return content
    if page and tiff_pages.count(content) == 1:
        raise ImageError(f"label has one page, its image has a page {page + 1}")
    try:
        return tiff_pages.page_file(content, page)
    except IndexError:
        raise ImageError(f"label has no page {page + 1}, its image has") from None


def class_ids(
    content: bytes, max_pixels: int, taxonomy: Taxonomy | None, page: int | None = None
) -> NDArray[np.int16]:
    """Class ids (H, W) int16 of a label file, void −1.

    Raises:
        ImageError: not an image, truncated, or of colours without a taxonomy that has them.
        InputError: a value or colour has no class.
    """
    return ids_and_unnamed(content, max_pixels, taxonomy, page)[0]


def ids_and_unnamed(
    content: bytes, max_pixels: int, taxonomy: Taxonomy | None, page: int | None = None
) -> tuple[NDArray[np.int16], int]:
    """`class_ids`, and how many pixels are void as they are 255 and nothing says what it means."""
    meaning, content = taxonomy_or_numbers(taxonomy), label_page(content, page)
    if meaning.colours is None:
        values = image_codecs.decode_labels(content, max_pixels)
        unnamed = int((values == VOID_BYTE).sum()) if meaning.byte_is_void else 0
        return meaning.apply(values), unnamed
    pixels, transparent = _colours(content, max_pixels)
    ids = np.full(transparent.shape, VOID, np.int16)
    if not transparent.all():
        pixels[transparent] = pixels[~transparent][0]  # whatever their colour, they have no class
        ids = meaning.apply(meaning.stored_of(pixels)).astype(np.int16)
        ids[transparent] = VOID
    return ids, 0


def require_every_class(counts: LabelCounts, taxonomy: Taxonomy | None) -> None:
    """Raise an InputError if a class never occurs while 255 does, which may be that class."""
    if not counts.unnamed:
        return
    remedy = (
        'if 255 is that class, give a taxonomy with "colours" such as ["#000000", "#ffffff"], or '
        'mend the labels; if it is void, write "void": 255 into the taxonomy'
    )
    if taxonomy is None:
        present = [cls for cls, pixels in enumerate(counts.pixels) if pixels]
        if len(present) == 1:
            raise InputError(
                f"the labels hold one value, {present[0]} ({counts.pixels[present[0]]:,} pixels), "
                f"besides 255 ({counts.unnamed:,} pixels), which counts as void without a taxonomy "
                f"of its class; {remedy}"
            )
        return
    for cls, name in enumerate(taxonomy.classes):
        if not any(counts.pixels[cls : cls + 1]):
            raise InputError(
                f"class {cls}, {name!r}, occurs in 0 pixels of the labels, and "
                f"255, which counts as void, in {counts.unnamed:,}; {remedy}"
            )


def _colours(content: bytes, max_pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """RGB pixels (H, W, 3) uint8 of a label file as stored, and which are transparent (H, W)."""
    with image_codecs.opened(content, max_pixels) as image:
        image.load()
        if image.mode not in COLOUR_MODES:
            raise ImageError(f"label has mode {image.mode}; expected colours of eight bits")
        pixels = np.array(image.convert("RGBA"))
    return np.ascontiguousarray(pixels[..., :3]), pixels[..., 3] == 0
