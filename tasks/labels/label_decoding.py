"""Label files to class ids: ids of one channel, colours that a taxonomy knows, COCO's areas."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy
from stego_core.labels.void import VOID, VOID_BYTE
from tasks.files import tiff_pages
from tasks.images import image_codecs

MOST_LABELS = 255
"""Ids of labels that come without a taxonomy: below this."""
COLOURED = {"RGB", "RGBA", "P", "PA", "L", "LA", "1"}


class Tally(NamedTuple):
    """What the labels of some images hold.

    Attributes:
        pixels: of each class.
        unnamed: pixels of 255 that count as void although no taxonomy says so.
    """

    pixels: list[int]
    unnamed: int

    @classmethod
    def total(cls, parts: Sequence[Mapping[str, Any]]) -> "Tally":
        """All parts together, as they are in records."""
        unnamed = sum(part.get("unnamed_void", 0) for part in parts)
        return cls(summed([part.get("label_pixels", []) for part in parts]), unnamed)


def counted(ids: NDArray[np.int16]) -> list[int]:
    """Pixels of each class id, void left out."""
    counts: list[int] = np.bincount(ids[ids >= 0].ravel()).tolist()
    return counts


def summed(counts: Sequence[Sequence[int]]) -> list[int]:
    """Counts of classes added up; shorter ones end in zeros."""
    longest = max(map(len, counts), default=0)
    padded = ([*each, *[0] * (longest - len(each))] for each in counts)
    return [sum(column) for column in zip(*padded, strict=True)]


def misfit(found: tuple[int, ...], wanted: tuple[int, int], image: bytes) -> str:
    """Why a label of one size does not fit an image of another."""
    text = "is {}×{}, its image {}×{}".format(*found, *wanted)
    turned = image_codecs.stored(image, wanted[0] * wanted[1]).orientation != 1
    if turned and found == wanted[::-1]:
        text += ", as its EXIF orientation shows it; turn the label the same way"
    return text


def expected(taxonomy: Taxonomy | None) -> Taxonomy:
    """The taxonomy, or one of numbered classes where there is none."""
    return taxonomy or Taxonomy.numbered(MOST_LABELS)


def label_page(content: bytes, page: int | None) -> bytes:
    """The label file of a page: the page of the same number, or the file where it is of one.

    Raises:
        ImageError: it has one page only, its image several.
    """
    if not page or tiff_pages.counted(content) == 1:
        if page:
            raise ImageError(f"label has one page, its image has a page {page + 1}")
        return content if page is None else tiff_pages.page_file(content, 0)
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
    """The same, and how many pixels are void because they are 255 and nothing says what it means.

    Raises:
        ImageError, InputError: as `class_ids` does.
    """
    meaning, content = expected(taxonomy), label_page(content, page)
    if meaning.colours is None:
        stored = image_codecs.decode_labels(content, max_pixels)
        unnamed = int((stored == VOID_BYTE).sum()) if meaning.byte_is_void else 0
        return meaning.apply(stored), unnamed
    pixels, empty = _coloured(content, max_pixels)
    ids = np.full(empty.shape, VOID, np.int16)
    if not empty.all():
        pixels[empty] = pixels[~empty][0]  # transparent pixels have no class, whatever their colour
        ids = np.where(empty, ids, meaning.apply(meaning.stored_of(pixels))).astype(np.int16)
    return ids, 0


def require_every_class(tally: Tally, taxonomy: Taxonomy | None) -> None:
    """Refuse labels in which a class never occurs while 255 does: it may stand for that class.

    Raises:
        InputError: it does; says both counts.
    """
    if not tally.unnamed:
        return
    remedy = (
        'if 255 is that class, give a taxonomy with "colours" such as ["#000000", "#ffffff"], or '
        'mend the labels; if it is void, write "void": 255 into the taxonomy'
    )
    if taxonomy is None:
        present = [cls for cls, count in enumerate(tally.pixels) if count]
        if len(present) == 1:
            raise InputError(
                f"the labels hold one value, {present[0]} ({tally.pixels[present[0]]:,} pixels), "
                f"besides 255 ({tally.unnamed:,} pixels), which counts as void without a taxonomy "
                f"of its class; {remedy}"
            )
        return
    counts = [*tally.pixels, *[0] * (len(taxonomy.classes) - len(tally.pixels))]
    absent = next((cls for cls, count in enumerate(counts) if not count), None)
    if absent is not None:
        raise InputError(
            f"class {absent}, {taxonomy.classes[absent]!r}, occurs in 0 pixels of the labels, and "
            f"255, which counts as void, in {tally.unnamed:,}; {remedy}"
        )


def _coloured(content: bytes, max_pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """RGB pixels (H, W, 3) uint8 of a label file as stored, and which are transparent (H, W)."""
    with image_codecs.opened(content, max_pixels) as image:
        image.load()
        if image.mode not in COLOURED:
            raise ImageError(f"label has mode {image.mode}; expected colours of eight bits")
        pixels = np.array(image.convert("RGBA"))
    return np.ascontiguousarray(pixels[..., :3]), pixels[..., 3] == 0
