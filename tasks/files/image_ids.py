"""Ids of a listing's images, chosen while their names pass by several times.

In memory is a hash of each id, 8 bytes an image. Names whose hashes are equal count as equal: of a
million names, two others meet so once in 37 million times, and then their ids are longer.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tasks.files.image_names import (
    KEPT_BYTES,
    MARK,
    MASK_ENDINGS,
    NAME_BYTES,
    PATH_BYTES,
    RESERVED,
    Hashes,
    among,
    clashes,
    folded,
    folders_of,
    hashes,
    repeated,
    stem,
)

Names = Callable[[], Iterable[tuple[str, str]]]
"""Of each image its whole name and its short one, without the ending; called several times."""


def image_ids(names: Names) -> Iterator[str]:
    """An id for each image, such that no disk takes two ids for the same name.

    It is the short name where that is unambiguous, else the whole one; where a mask of that name
    would still meet another's, or a folder, or be too long, the name is cut and marked with a
    digest of the whole one.
    """
    marks = hashes(short for _, short in names())
    is_whole = np.zeros(len(marks), bool)
    while _lengthen(names, marks, is_whole):
        pass
    folders = _mask_like_folders(_chosen(names, is_whole))
    clashing = _clashing(_chosen(names, is_whole), _shared(marks), folders)
    return _marked_where(names, is_whole, clashing, Taken(marks, clashing), folders)


class Taken:
    """Ids that no other image may have."""

    def __init__(self, marks: Hashes, clashing: NDArray[np.bool_]) -> None:
        """Those of images that do not clash, unless a clashing one had the same."""
        gone = np.unique(marks[clashing])
        self.before = np.sort(marks[~among(marks, gone)]) if len(gone) else marks[:0]
        self.later: set[int] = set()

    def take(self, name: str) -> bool:
        """Take an id; False if it is taken."""
        mark = hashes([name])
        taken = int(mark[0]) in self.later or bool(among(mark, self.before)[0])
        self.later.add(int(mark[0]))
        return not taken


def _chosen(names: Names, is_whole: NDArray[np.bool_]) -> Iterator[str]:
    for (whole, short), lengthened in zip(names(), is_whole, strict=True):
        yield whole if lengthened else short


def _lengthen(names: Names, marks: Hashes, is_whole: NDArray[np.bool_]) -> bool:
    """Give images that share their id their whole name; False if none had another one."""
    changed = False
    ambiguous = _shared(marks) & ~is_whole
    if not ambiguous.any():
        return False
    for number, (whole, short) in itertools.compress(enumerate(names()), ambiguous):
        is_whole[number] = True
        if whole != short:
            marks[number] = hashes([whole])[0]
            changed = True
    return changed


def _shared(marks: Hashes) -> NDArray[np.bool_]:
    """Whether each hash occurs more than once."""
    return among(marks, repeated(marks))


def _mask_like_folders(ids: Iterable[str]) -> set[str]:
    """Folders of ids that are called as a mask is: no other one meets a mask."""
    return {
        folder
        for name in ids
        if not name.isascii() or any(ending in name.lower() for ending in MASK_ENDINGS)
        for folder in folders_of(folded(name))
        if folder.endswith(MASK_ENDINGS)
    }


def _clashing(
    ids: Iterable[str], shared: NDArray[np.bool_], folders: set[str]
) -> NDArray[np.bool_]:
    return np.fromiter(
        (
            bool(is_shared) or clashes(name, folders)
            for name, is_shared in zip(ids, shared, strict=True)
        ),
        bool,
    )


def _marked_where(
    names: Names,
    is_whole: NDArray[np.bool_],
    clashing: NDArray[np.bool_],
    taken: Taken,
    folders: set[str],
) -> Iterator[str]:
    ids = _chosen(names, is_whole)
    for (whole, _), name, clashes_now in zip(names(), ids, clashing, strict=True):
        yield _marked(whole, taken.take, folders) if clashes_now else name


def _marked(whole: str, take: Callable[[str], bool], folders: set[str]) -> str:
    folder, _, last = whole.rpartition("/")
    first = folded(folder).partition("/")[0]
    if first in RESERVED or len(folder.encode()) > PATH_BYTES - NAME_BYTES:
        folder = ""
    start = stem(last).encode()[:KEPT_BYTES].decode("utf-8", "ignore")
    for number in itertools.count():
        digest = blake2b(f"{number}/{whole}".encode(), digest_size=6).hexdigest()
        name = f"{folder}/{start}{MARK}{digest}".lstrip("/")
        if not clashes(name, folders) and take(name):
            break
    return name
