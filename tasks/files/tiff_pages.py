"""Pages of TIFF files: where they begin, and a file of one page only."""

import io
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

from PIL import Image

from tasks.files import formats
from tasks.files.image_names import ending

ENDINGS = {".tif", ".tiff"}  # endings of files that may have several pages
ANIMATED = {".gif", ".png", ".apng", ".webp", ".avif"}  # endings of files that may be animations
SUBFILE = 254  # tag of a directory's kind: a page, a reduced picture of one, or a mask of one
OLD_SUBFILE = 255  # the same in older files
NO_PAGE = 1 | 4  # bits of SUBFILE that a reduced picture or a mask has
OLD_REDUCED = 2  # value of OLD_SUBFILE of a reduced picture
FARTHEST = 2**62  # no file has such an offset
MOST_DIRECTORIES = 100_000  # a damaged chain of directories may be a circle

Order: TypeAlias = Literal["little", "big"]


class Directory(NamedTuple):
    """A directory of a TIFF."""

    offset: int  # where it begins
    link: int  # where the offset of the next one stands
    page: bool  # whether it is a page; else it belongs to the page before it


class Layout(NamedTuple):
    """Sizes of a TIFF's numbers: BigTIFF has larger ones."""

    order: Order  # of its bytes
    first: int  # where the offset of the first directory stands
    wide: int  # bytes of an offset
    entry: int  # bytes of a tag's entry
    counter: int  # bytes of the number of entries


def may_have_pages(path: str) -> bool:
    """Whether the file's ending is a TIFF's."""
    return ending(path) in ENDINGS


def count(tiff: BinaryIO | bytes) -> int:
    """Pages of a TIFF, at least 1; reduced pictures and masks of a page are none."""
    file = io.BytesIO(tiff) if isinstance(tiff, bytes) else tiff
    return max(sum(directory.page for directory in _directories(file)), 1)


def frames(path: str, content: bytes) -> int:
    """Frames of an animation, 1 of everything else and of a damaged file."""
    if ending(path) not in ANIMATED:
        return 1
    if content[:4] == b"\x89PNG" and b"acTL" not in content[:4096]:
        return 1
    try:
        with Image.open(io.BytesIO(content), formats=formats.decoders()) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # the decoder of the pixels says what is wrong
        return 1


def unused_pages(path: str, content: bytes) -> dict[str, Any]:
    """How many pages or frames a file has beyond the first, by kind, with the file's name."""
    if may_have_pages(path):
        kind, total = "page", count(content)
    else:
        kind, total = "frame", frames(path, content)
    return {kind: {"count": total - 1, "example": path}} if total > 1 else {}


def page_file(content: bytes, page: int) -> bytes:
    """The file with one of its pages only, from 0, and what belongs to it.

    No pixel is touched: the header points to that page, and what would come behind it is cut off.
    An IndexError if there is no such page.
    """
    layout = _layout(content[:16])
    directories = _directories(io.BytesIO(content))
    starts = [number for number, directory in enumerate(directories) if directory.page]
    if layout is None or not starts:
        if page:
            raise IndexError(page)
        return content
    start = starts[page]
    end = starts[page + 1] if page + 1 < len(starts) else len(directories)
    file = bytearray(content)
    for at, offset in ((layout.first, directories[start].offset), (directories[end - 1].link, 0)):
        file[at : at + layout.wide] = offset.to_bytes(layout.wide, layout.order)
    return bytes(file)


def _layout(head: bytes) -> Layout | None:
    if head[:2] not in (b"II", b"MM") or len(head) < 16:
        return None
    order: Order = "little" if head[:2] == b"II" else "big"
    version = int.from_bytes(head[2:4], order)
    if version == 42:
        return Layout(order, 4, 4, 12, 2)
    return Layout(order, 8, 8, 20, 8) if version == 43 else None


def _directories(file: BinaryIO) -> list[Directory]:
    """The chain of directories, as far as it can be read."""
    layout = _layout(file.read(16))
    if layout is None:
        return []
    directories: dict[int, Directory] = {}
    offset = _number(file, layout.first, layout.wide, layout.order)
    while offset and offset not in directories and len(directories) < MOST_DIRECTORIES:
        entries = _number(file, offset, layout.counter, layout.order)
        body = file.read(entries * layout.entry) if 0 < entries <= 4096 else b""
        if len(body) != entries * layout.entry or not body:
            break
        link = offset + layout.counter + entries * layout.entry
        directories[offset] = Directory(offset, link, _is_page(body, layout))
        offset = _number(file, link, layout.wide, layout.order)
    return list(directories.values())


def _is_page(body: bytes, layout: Layout) -> bool:
    order = layout.order
    for first in range(0, len(body), layout.entry):
        entry = body[first : first + layout.entry]
        tag = int.from_bytes(entry[:2], order)
        if tag in (SUBFILE, OLD_SUBFILE):
            size = 2 if int.from_bytes(entry[2:4], order) == 3 else 4
            at = 4 + layout.wide
            value = int.from_bytes(entry[at : at + size], order)
            return not value & NO_PAGE if tag == SUBFILE else value != OLD_REDUCED
    return True


def _number(file: BinaryIO, offset: int, size: int, order: Order) -> int:
    if offset >= FARTHEST:
        return 0
    file.seek(offset)
    return int.from_bytes(file.read(size), order)
