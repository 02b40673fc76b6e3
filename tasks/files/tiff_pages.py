"""Pages of TIFF files: where they begin, and a file of one page only."""

import io
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

from PIL import Image

from tasks.files import formats

ENDINGS = {".tif", ".tiff"}
ANIMATED = {".gif", ".png", ".apng", ".webp", ".avif"}
SUBFILE, OLD_SUBFILE = 254, 255
"""Tags that say what a directory is: a page, a smaller picture of one, or a mask of one."""
REDUCED, MASK = 1, 4
FARTHEST = 2**62
"""No file has such an offset, and none can be sought."""
MOST = 100_000
"""Directories, at most: a damaged chain may be a circle."""

Order: TypeAlias = Literal["little", "big"]


class Directory(NamedTuple):
    """A directory of a TIFF.

    Attributes:
        offset: where it begins.
        link: where the offset of the next one stands.
        page: whether it is a page; else it belongs to the one before it.
    """

    offset: int
    link: int
    page: bool


class Layout(NamedTuple):
    """How a TIFF counts.

    Attributes:
        order: of its bytes.
        first: where the offset of the first directory stands.
        wide: bytes of an offset.
        entry: bytes of a tag's entry.
        counter: bytes of the number of entries.
    """

    order: Order
    first: int
    wide: int
    entry: int
    counter: int


def may_have_pages(path: str) -> bool:
    """Whether the file's ending is a TIFF's."""
    return PurePosixPath(path).suffix.lower() in ENDINGS


def count(file: BinaryIO) -> int:
    """Pages of an open TIFF, at least 1; smaller pictures and masks of a page are none."""
    return max(sum(each.page for each in _directories(file)), 1)


def counted(content: bytes) -> int:
    """The same of a file's bytes; 1 of what is no TIFF."""
    return count(io.BytesIO(content))


def frames(path: str, content: bytes) -> int:
    """Frames of an animation, 1 of everything else; of a broken file what can be told."""
    if PurePosixPath(path).suffix.lower() not in ANIMATED:
        return 1
    if content[:4] == b"\x89PNG" and b"acTL" not in content[:4096]:
        return 1
    try:
        with Image.open(io.BytesIO(content), formats=formats.decoders()) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # the decoder of the pixels tells what is wrong
        return 1


def further(path: str, content: bytes) -> dict[str, Any]:
    """How many pages or frames of a file are not its first, by kind, with the file's name."""
    if may_have_pages(path):
        kind, total = "page", counted(content)
    else:
        kind, total = "frame", frames(path, content)
    return {kind: {"count": total - 1, "example": path}} if total > 1 else {}


def page_file(content: bytes, page: int) -> bytes:
    """The file with one of its pages only, from 0, and what belongs to it.

    No pixel is touched: the header points to that page, and what would come behind it is cut off.

    Raises:
        IndexError: there is no such page.
    """
    layout = _layout(content[:16])
    found = _directories(io.BytesIO(content))
    starts = [place for place, each in enumerate(found) if each.page]
    if layout is None or not starts:
        if page:
            raise IndexError(page)
        return content
    start = starts[page]
    end = starts[page + 1] if page + 1 < len(starts) else len(found)
    changed = bytearray(content)
    for place, value in ((layout.first, found[start].offset), (found[end - 1].link, 0)):
        changed[place : place + layout.wide] = value.to_bytes(layout.wide, layout.order)
    return bytes(changed)


def _layout(head: bytes) -> Layout | None:
    if head[:2] not in (b"II", b"MM") or len(head) < 16:
        return None
    order: Order = "little" if head[:2] == b"II" else "big"
    version = int.from_bytes(head[2:4], order)
    if version == 42:
        return Layout(order, 4, 4, 12, 2)
    return Layout(order, 8, 8, 20, 8) if version == 43 else None


def _directories(file: BinaryIO) -> list[Directory]:
    """The chain of directories; what of it can be read."""
    layout = _layout(file.read(16))
    if layout is None:
        return []
    found: list[Directory] = []
    seen: set[int] = set()
    offset = _number(file, layout.first, layout.wide, layout.order)
    while offset and offset not in seen and len(found) < MOST:
        seen.add(offset)
        entries = _number(file, offset, layout.counter, layout.order)
        body = file.read(entries * layout.entry) if 0 < entries <= 4096 else b""
        if len(body) != entries * layout.entry or not body:
            break
        link = offset + layout.counter + entries * layout.entry
        found.append(Directory(offset, link, _is_page(body, layout)))
        offset = _number(file, link, layout.wide, layout.order)
    return found


def _is_page(body: bytes, layout: Layout) -> bool:
    order = layout.order
    for first in range(0, len(body), layout.entry):
        entry = body[first : first + layout.entry]
        tag = int.from_bytes(entry[:2], order)
        if tag in (SUBFILE, OLD_SUBFILE):
            size = 2 if int.from_bytes(entry[2:4], order) == 3 else 4
            at = 4 + layout.wide
            value = int.from_bytes(entry[at : at + size], order)
            return not value & (REDUCED | MASK) if tag == SUBFILE else value != 2
    return True


def _number(file: BinaryIO, offset: int, size: int, order: Order) -> int:
    if offset >= FARTHEST:
        return 0
    file.seek(offset)
    return int.from_bytes(file.read(size), order)
