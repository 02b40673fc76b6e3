"""Members of a zip archive from the directory at its end, and their bytes from a range."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from stego_core.errors import ImageError
from tasks.sources.members import DEFLATE, MOST_UNPACKED, STORED, Flaw, Member, leads_out, plain

HEADER = struct.Struct("<4s5H3I2H")  # before the bytes of each member
MARK = b"PK\3\4"
STREAMED = 8  # bit of the flags: the checksum stands behind the bytes, not in the header
ENCRYPTED = 1  # bit of the flags
SLACK = 1024  # bytes that are fetched with a member for its header, whose length is not known
PACKINGS = {zipfile.ZIP_STORED: STORED, zipfile.ZIP_DEFLATED: DEFLATE}


def members(file: BinaryIO, size: int) -> Iterator[Member | Flaw]:
    """Members and flaws in the order of their offsets."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        yield Flaw("unreadable archive", "", str(error) or "its directory is damaged")
        return
    ends = [entry.header_offset for entry in entries[1:]] + [size]
    for entry, end in zip(entries, ends, strict=True):
        found = _entry(entry, end)
        if found is not None:
            yield found


def _entry(entry: zipfile.ZipInfo, end: int) -> Member | Flaw | None:
    name, mode = plain(entry.filename), entry.external_attr >> 16
    if entry.is_dir():
        return None
    if stat.S_ISLNK(mode):
        return Flaw("link", name)
    if leads_out(entry.orig_filename) or leads_out(name):
        return Flaw("unsafe name", entry.orig_filename)
    if entry.flag_bits & ENCRYPTED:
        return Flaw("encrypted", name)
    if entry.compress_type not in PACKINGS:
        return Flaw("packed otherwise", name, f"method {entry.compress_type}")
    if entry.file_size > MOST_UNPACKED:
        return Flaw("bomb", name, f"{entry.file_size:,} bytes unpacked, at most {MOST_UNPACKED:,}")
    if entry.header_offset + HEADER.size + entry.compress_size > end:
        return Flaw("cut off", name, "its bytes reach into another member, or beyond the archive")
    packing = PACKINGS[entry.compress_type]
    return Member(name, entry.header_offset, entry.compress_size, entry.file_size, packing)


def span(offset: int, length: int) -> tuple[int, int]:
    """Offset and length of the range that most likely holds a member with its header."""
    return offset, HEADER.size + SLACK + length


def missing(content: bytes, length: int) -> int:
    """Bytes that a range lacks of a member behind a longer header; 0 where all are there."""
    fields = _header(content)
    return max(HEADER.size + fields[9] + fields[10] + length - len(content), 0)


def unpacked(content: bytes, length: int, packing: str) -> bytes:
    """A member's bytes from a range that begins with its header; checked where it has a checksum.

    Raises:
        ImageError: the range holds something else, is damaged, or unpacks to too much.
    """
    fields = _header(content)
    begin = HEADER.size + fields[9] + fields[10]
    packed = content[begin : begin + length]
    if len(packed) < length:
        raise ImageError("its archive is cut off")
    if fields[2] & ENCRYPTED:
        raise ImageError("it is encrypted")
    member = packed if packing == STORED else _inflated(packed)
    if not fields[2] & STREAMED and zlib.crc32(member) != fields[6]:
        raise ImageError("its archive is damaged: the checksum differs")
    return member


def _header(content: bytes) -> tuple[int, ...]:
    if content[:4] != MARK or len(content) < HEADER.size:
        raise ImageError("its archive is damaged: no member is where the directory says")
    return tuple(HEADER.unpack_from(content))


def _inflated(packed: bytes) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        member = engine.decompress(packed, MOST_UNPACKED)
    except zlib.error as error:
        raise ImageError(f"its archive is damaged: {error}") from None
    if engine.unconsumed_tail:
        raise ImageError(f"it unpacks to more than {MOST_UNPACKED:,} bytes")
    if not engine.eof:
        raise ImageError("its archive is damaged: its bytes end too early")
    return member
