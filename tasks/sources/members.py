"""What an archive or a list holds: members with where their bytes lie, and flaws, one by one."""

import re
from typing import NamedTuple

TAR = "tar"  # bytes that lie in an archive as they are
STORED, DEFLATE = "zip", "zip-deflate"  # members of zip archives, behind a header of their own
MOST_UNPACKED = 2**29  # bytes of a member, unpacked; more may be a decompression bomb


class Member(NamedTuple):
    """A file in an archive."""

    name: str  # as the archive has it, without "./" before it
    offset: int  # of its bytes in the archive; in a zip, of the header before them
    length: int  # bytes that it takes in the archive
    bytes: int  # its size
    packing: str  # TAR, STORED or DEFLATE


class Flaw(NamedTuple):
    """Something that cannot be used: a kind of `left_out.TEXTS`, an example, and a reason."""

    kind: str
    name: str
    note: str = ""


def plain(name: str) -> str:
    """A member's name without what says only that it lies here."""
    return re.sub(r"^(\./+)+", "", name)


def leads_out(name: str) -> bool:
    """Whether a name is absolute, of another drive, or has a part `..`."""
    parts = re.split(r"[/\\]", name)
    return parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name) is not None
