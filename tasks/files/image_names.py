"""Names of images: ids that no place confuses, and when two names are one to somebody."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import PurePosixPath

from stego_core.errors import InputError
from tasks.workspace import layout

MASK_ENDINGS = (".png", ".jpg")
"""What masks, maps of margins and overlays are called behind an id."""
NAME_BYTES = 255 - len(".png")
"""Longest last part of an id: a file's name is at most 255 bytes nearly everywhere."""
PATH_BYTES = 700
"""Longest id: an object's key has at most 1,024 bytes, with the folders above it."""
RESERVED = {layout.PLAN, layout.MANIFEST, layout.RECORDS, layout.CONFIDENCE_FILE}
"""What else lies in a folder of masks: no folder of images may have such a name there."""
MARK = "~"
KEPT_BYTES = 100
"""What is left of a name that gets a mark."""


def folded(name: str) -> str:
    """What is equal for names that some disk takes for one.

    That is, whatever the case of letters, the Unicode form (a Mac stores `ü` as two characters)
    and spaces or dots at the end of a part.
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
    return path.encode("utf-8", "backslashreplace").decode()


def stem(path: str) -> str:
    """The path without its extension."""
    return str(PurePosixPath(path).with_suffix(""))


def page_name(path: str, page: int) -> str:
    """What a page of a file with several is called, from 0: a name in a folder of the file's."""
    return f"{path}/p{page + 1:04d}"


def image_ids(wholes: Sequence[str], short: Sequence[str]) -> list[str]:
    """An id for each image, no two of which any place takes for one.

    It is the short name where that is unambiguous, else the whole; where a mask of that name
    would still meet another's, or a folder, or be too long, the name is cut and marked with a
    digest of the whole one.

    Args:
        wholes: names of the images with their endings.
        short: the same without.
    """
    wanted = list(short)
    while True:
        counts = Counter(map(folded, wanted))
        longer = [
            place
            for place, name in enumerate(wanted)
            if name != wholes[place] and counts[folded(name)] > 1
        ]
        if not longer:
            break
        for place in longer:
            wanted[place] = wholes[place]
    folders = {folder for name in wanted for folder in _folders(folded(name))}
    awkward = [counts[folded(name)] > 1 or _clashes(name, folders) for name in wanted]
    taken = {folded(name) for name, bad in zip(wanted, awkward, strict=True) if not bad}
    for place, bad in enumerate(awkward):
        if bad:
            wanted[place] = _marked(wholes[place], taken, folders)
            taken.add(folded(wanted[place]))
    return wanted


def require_distinct(ids: Iterable[str], paths: Iterable[str]) -> None:
    """Refuse a listing in which two masks would have one name; `image_ids` never makes such.

    Raises:
        InputError: two ids are one to some place; names the images.
    """
    owners: dict[str, str] = {}
    for name, path in zip(ids, paths, strict=True):
        other = owners.setdefault(folded(name), path)
        if other is not path:
            raise InputError(
                f"the masks of {other} and {path} would both be called {name}; rename one of them"
            )


def _folders(name: str) -> Iterable[str]:
    """The folders that a name lies in."""
    parts = name.split("/")[:-1]
    return ("/".join(parts[: depth + 1]) for depth in range(len(parts)))


def _clashes(name: str, folders: set[str]) -> bool:
    """Whether a mask of this name would meet a folder, or be refused by a disk."""
    key = folded(name)
    first, below = key.partition("/")[::2]
    return (
        any(key + ending in folders for ending in MASK_ENDINGS)
        or len(name.rpartition("/")[2].encode()) > NAME_BYTES
        or len(name.encode()) > PATH_BYTES
        or (bool(below) and first in RESERVED)
    )


def _marked(whole: str, taken: set[str], folders: set[str]) -> str:
    folder, _, last = whole.rpartition("/")
    first = folded(folder).partition("/")[0]
    if first in RESERVED or len(folder.encode()) > PATH_BYTES - NAME_BYTES:
        folder = ""
    start = stem(last).encode()[:KEPT_BYTES].decode("utf-8", "ignore")
    number = 0
    while True:
        digest = blake2b(f"{number}/{whole}".encode(), digest_size=6).hexdigest()
        name = f"{folder}/{start}{MARK}{digest}".lstrip("/")
        if folded(name) not in taken and not _clashes(name, folders):
            return name
        number += 1
