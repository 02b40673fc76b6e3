"""Names of images: ids that no disk confuses, and when a disk takes two names for one."""

import sys
import unicodedata
from collections.abc import Collection, Iterable
from hashlib import blake2b
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tasks.workspace import layout

MASK_ENDINGS = (".png", ".jpg")  # endings of masks, maps of margins and overlays, behind an id
NAME_BYTES = 255 - len(".png")
"""Longest last part of an id: a file's name is at most 255 bytes nearly everywhere."""
PATH_BYTES = 700  # longest id: an object's key has at most 1,024 bytes, with the folders above it
RESERVED = {layout.PLAN, layout.MANIFEST, layout.RECORDS, layout.CONFIDENCE_FILE}
"""Other names in a folder of masks: no folder of images may have such a name there."""
MARK = "~"  # stands before the digest of a marked name
Hashes = NDArray[np.uint64]
COMPARED_AT_ONCE = 2**16  # hashes
KEPT_BYTES = 100  # bytes of a name that stay before its mark


def folded(name: str) -> str:
    """A key that is equal for names that some disk takes for one.

    It ignores the case of letters, the Unicode form (a Mac stores `ü` as two characters) and
    spaces or dots at the end of a part.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
    parts = (part.rstrip(" .") or part for part in name.lower().split("/"))
    return "/".join(part for part in parts if part not in ("", "."))


def composed(name: str) -> str:
    """The name in Unicode's composed form."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def storable(path: str) -> str:
    """The path itself, or with escapes where its bytes are not UTF-8: it is then quarantined."""
    return path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()


def stem(path: str) -> str:
    """The path without its extension; `//` and `/./`, which objects' keys may hold, as `/`."""
    if "//" in path or "./" in path:
        path = str(PurePosixPath(path))
    return path[: len(path) - len(_extension(path))]


def ending(path: str) -> str:
    """The path's extension with its dot, in lower case; empty without one."""
    return _extension(path).lower()


def _extension(path: str) -> str:
    """What `PurePosixPath.suffix` says, in less time: from a name's last dot on, unless that is
    its first or last character.
    """
    last = path.rpartition("/")[2]
    dot = last.rfind(".")
    return last[dot:] if 0 < dot < len(last) - 1 else ""


def page_name(path: str, page: int) -> str:
    """The name of a page, from 0: it lies in a folder of the file's name."""
    return f"{path}/p{page + 1:04d}"


def digests(texts: Iterable[str]) -> Hashes:
    """64 bits of each text."""
    return np.fromiter(map(_digest, texts), np.uint64)


def _digest(text: str) -> int:
    return int.from_bytes(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), sys.byteorder
    )


def hashes(names: Iterable[str]) -> Hashes:
    """64 bits of each name, equal for names that some disk takes for one."""
    return digests(map(folded, names))


def repeated(marks: Hashes) -> Hashes:
    """The hashes that occur more than once, each once, sorted."""
    ordered = np.sort(marks)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def among(marks: Hashes, ordered: Hashes) -> NDArray[np.bool_]:
    """Whether each hash is among others, which are sorted."""
    found = np.zeros(len(marks), bool)
    for first in range(0, len(marks) if len(ordered) else 0, COMPARED_AT_ONCE):
        part = marks[first : first + COMPARED_AT_ONCE]
        at = np.minimum(np.searchsorted(ordered, part), len(ordered) - 1)
        found[first : first + COMPARED_AT_ONCE] = ordered[at] == part
    return found


def folders_of(name: str) -> Iterable[str]:
    """The folders that a name lies in, each as a path."""
    parts = name.split("/")[:-1]
    return ("/".join(parts[: depth + 1]) for depth in range(len(parts)))


def clashes(name: str, folders: Collection[str]) -> bool:
    """Whether a mask of this name would meet a folder, or be refused by a disk.

    Of the folders, those suffice whose names end as a mask's does.
    """
    key = folded(name)
    first, below = key.partition("/")[::2]
    return (
        any(key + ending in folders for ending in MASK_ENDINGS)
        or len(name.rpartition("/")[2].encode()) > NAME_BYTES
        or len(name.encode()) > PATH_BYTES
        or (bool(below) and first in RESERVED)
    )
