"""Members of a tar archive, header by header: none of their bytes is read.

Python's own `tarfile` parses each header; the walk is ours, as its own ends at the first damaged
header without a word.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from tarfile import BLOCKSIZE, TarInfo
from typing import BinaryIO

from tasks.sources.members import TAR, Flaw, Member, leads_out, plain

LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
RECORDS = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE}
LINKS = {tarfile.LNKTYPE, tarfile.SYMTYPE}
MOST_HEADER = 2**20  # bytes of a name or of records; more is damage
SCANNED = 2**20  # bytes that are read at once where a header is looked for
END_BLOCKS = 2  # of zeros, at least, end an archive


@dataclass
class TarWalk:
    """The walk over one archive."""

    file: BinaryIO  # seekable
    size: int  # of the archive
    at: int = 0  # where the next header is expected
    zeros: int = 0  # blocks of zeros since the last header
    records: dict[str, str] = field(default_factory=dict)  # of the next member
    shared: dict[str, str] = field(default_factory=dict)  # of all members that follow

    def __iter__(self) -> Iterator[Member | Flaw]:
        """Members and flaws in the order of their offsets; damaged parts are passed over."""
        damaged = -1
        while self.at + BLOCKSIZE <= self.size:
            block = self._read(self.at, BLOCKSIZE)
            if len(block) < BLOCKSIZE:
                break
            if not any(block):
                self.at, self.zeros = self.at + BLOCKSIZE, self.zeros + 1
                continue
            header = _parsed(block)
            if header is None:
                begun, self.at = self.at, self._next_header(self.at + BLOCKSIZE)
                damaged = self.at
                yield Flaw("damaged part", f"bytes {begun:,} to {self.at:,}")
                continue
            self.zeros = 0
            found = self._entry(header, block)
            if found is not None:
                yield found
        if self.zeros < END_BLOCKS and damaged < self.size:
            yield Flaw("no end", f"byte {self.size:,}")

    def _read(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(length)

    def _entry(self, header: TarInfo, block: bytes) -> Member | Flaw | None:
        """What a header announces; the walk stands behind it afterwards."""
        data, kind = self.at + BLOCKSIZE, header.type
        if kind in LONG_NAMES or kind in RECORDS:
            return self._names(header, data)
        records, self.records = {**self.shared, **self.records}, {}
        name = plain(records.get("path", header.name))
        size = _number(records.get("size"), header.size)
        has_data = header.isreg() or kind not in tarfile.SUPPORTED_TYPES
        if kind == tarfile.GNUTYPE_SPARSE:
            has_data, data = True, self._behind_sparse_map(data, block)
        self.at = data + (-(-size // BLOCKSIZE) * BLOCKSIZE if has_data else 0)
        if header.isdir():
            return None
        if kind in LINKS:
            return Flaw("link", name)
        if kind == tarfile.GNUTYPE_SPARSE or any(r.startswith("GNU.sparse") for r in records):
            return Flaw("packed otherwise", name, "a sparse file")
        if not header.isreg():
            return Flaw("link", name, "a device or of an unknown kind")
        if leads_out(name):
            return Flaw("unsafe name", name)
        if data + size > self.size:
            there = max(self.size - data, 0)
            return Flaw("cut off", name, f"{size:,} bytes are announced, {there:,} are there")
        return Member(name, data, size, size, TAR)

    def _names(self, header: TarInfo, data: int) -> Flaw | None:
        """Take up a long name, or records, for the member behind them."""
        self.at = data + -(-header.size // BLOCKSIZE) * BLOCKSIZE
        if header.size > MOST_HEADER or data + header.size > self.size:
            self.at = data
            return Flaw("damaged part", f"byte {data:,}", "a name that is longer than any")
        content = self._read(data, header.size)
        if header.type in LONG_NAMES:
            text = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            self.records[LONG_NAMES[header.type]] = text
        else:
            known = self.shared if header.type == tarfile.XGLTYPE else self.records
            known.update(_pax_records(content))
        return None

    def _behind_sparse_map(self, data: int, block: bytes) -> int:
        """Where the bytes of a sparse file begin: blocks of its map stand before them."""
        more = block[482]
        while more and data + BLOCKSIZE <= self.size:
            block = self._read(data, BLOCKSIZE)
            data, more = data + BLOCKSIZE, block[504] if len(block) == BLOCKSIZE else 0
        return data

    def _next_header(self, start: int) -> int:
        """Where the next sound header begins, or the end."""
        while start + BLOCKSIZE <= self.size:
            piece = self._read(start, SCANNED)
            for offset in range(0, len(piece) - BLOCKSIZE + 1, BLOCKSIZE):
                marked = piece[offset + 257 : offset + 262] == b"ustar"
                if marked and _parsed(piece[offset : offset + BLOCKSIZE]):
                    return start + offset
            if len(piece) < BLOCKSIZE:
                break
            start += len(piece) // BLOCKSIZE * BLOCKSIZE
        return self.size


def _parsed(block: bytes) -> TarInfo | None:
    """A header; None of a block that is none."""
    try:
        header = TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None
    return header if header.size >= 0 else None


def _pax_records(content: bytes) -> dict[str, str]:
    """Records "LENGTH NAME=VALUE\\n", as far as they are sound."""
    records, at = {}, 0
    while at < len(content):
        digits, _, _ = content[at : at + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = content[at + len(digits) + 1 : at + length - 1]
        name, mark, value = record.partition(b"=")
        if not length or not mark:
            break
        records[name.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at += length
    return records


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() else otherwise
