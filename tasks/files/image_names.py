"""Names of images: ids that no disk confuses, and when a disk takes two names for one."""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import PurePosixPath

from stego_core.errors import InputError
from tasks.workspace import layout

MASK_ENDINGS = (".png", ".jpg")  # endings of masks, maps of margins and overlays, behind an id
NAME_BYTES = 255 - len(".png")
"""Longest last part of an id: a file's name is at most 255 bytes nearly everywhere."""
PATH_BYTES = 700  # longest id: an object's key has at most 1,024 bytes, with the folders above it
RESERVED = {layout.PLAN, layout.MANIFEST, layout.RECORDS, layout.CONFIDENCE_FILE}
"""Other names in a folder of masks: no folder of images may have such a name there."""
MARK = "~"  # stands before the digest of a marked name
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
    return path.encode("utf-8", "backslashreplace").decode()


def stem(path: str) -> str:
    """The path without its extension."""
    return str(PurePosixPath(path).with_suffix(""))


def ending(path: str) -> str:
    """The path's extension with its dot, in lower case; empty without one."""
    return PurePosixPath(path).suffix.lower()


def page_name(path: str, page: int) -> str:
    """The name of a page, from 0: it lies in a folder of the file's name."""
    return f"{path}/p{page + 1:04d}"


def image_ids(wholes: Sequence[str], short: Sequence[str]) -> list[str]:
    """An id for each image, such that no disk takes two ids for the same name.

    It is the `short` name, without the ending, where that is unambiguous, else the whole; where a
    mask of that name would still meet another's, or a folder, or be too long, the name is cut and
    marked with a digest of the whole one.
    """
    ids = list(short)
    while True:
        counts = Counter(map(folded, ids))
        ambiguous = [
            image
            for image, name in enumerate(ids)
            if name != wholes[image] and counts[folded(name)] > 1
        ]
        if not ambiguous:
            break
        for image in ambiguous:
            ids[image] = wholes[image]
    folders = {folder for name in ids for folder in _folders(folded(name))}
    clashing = [
        image
        for image, name in enumerate(ids)
        if counts[folded(name)] > 1 or _clashes(name, folders)
    ]
    taken = {folded(name) for name in ids} - {folded(ids[image]) for image in clashing}
    for image in clashing:
        ids[image] = _marked(wholes[image], taken, folders)
        taken.add(folded(ids[image]))
    return ids


def require_distinct(ids: Iterable[str], paths: Iterable[str]) -> None:
    """Raise an InputError where some disk takes two ids for one; `image_ids` never makes such."""
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
    for number in itertools.count():
        digest = blake2b(f"{number}/{whole}".encode(), digest_size=6).hexdigest()
        name = f"{folder}/{start}{MARK}{digest}".lstrip("/")
        if folded(name) not in taken and not _clashes(name, folders):
            break
    return name
