"""Ids of images of archives and lists: the same whatever their order, and whatever is beside them.

Names are not kept, only their hashes: a million of them are 8 MB.
"""

import posixpath
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from tasks.files.image_names import KEPT_BYTES, MARK, Hashes, clashes, folded, folders_of, hashes

RESERVED = '<>:"|?*'  # characters that are in no name on Windows


def safe(name: str) -> str:
    """A name that is a path on any system: without drives, `.`, `..` and reserved characters."""
    kept = (c if c.isprintable() and c not in RESERVED else "_" for c in name.replace("\\", "/"))
    text = "".join(kept)
    return "/".join(part for part in text.split("/") if part not in ("", ".", "..")) or "image"


class IdChoice:
    """Chooses ids once the names of all images were seen.

    An id is the image's name without its ending. Where several have the same, that of the first
    path keeps it, the others are marked with a digest of their path.
    """

    def __init__(self) -> None:
        """No image was seen."""
        self.seen: list[Hashes] = []
        self.folders: set[str] = set()
        self.first: dict[int, str] = {}

    def see(self, shorts: Iterable[str]) -> None:
        """Note the names, without endings, of some images."""
        names = list(shorts)
        self.seen.append(hashes(names))
        for name in {posixpath.dirname(name) for name in names}:
            self.folders.update(folders_of(folded(f"{name}/x")))

    def settle(self, images: Iterable[tuple[str, str]]) -> None:
        """Find the first path of each name that several images have; `images`: (short, path)."""
        values, counts = np.unique(np.concatenate([*self.seen, hashes([])]), return_counts=True)
        self.seen = []
        several = set(values[counts > 1].tolist())
        if not several:
            return
        for short, path in images:
            key = int(hashes([short])[0])
            if key in several and path < self.first.get(key, f"{path}~"):
                self.first[key] = path

    def id_of(self, short: str, path: str) -> str:
        """The id of an image."""
        first = self.first.get(int(hashes([short])[0])) if self.first else None
        if (first is None or first == path) and not clashes(short, self.folders):
            return short
        return self._marked(short, blake2b(path.encode(), digest_size=6).hexdigest())

    def _marked(self, short: str, digest: str) -> str:
        folder, _, last = short.rpartition("/")
        start = last.encode()[:KEPT_BYTES].decode("utf-8", "ignore")
        name = f"{folder}/{start}{MARK}{digest}".lstrip("/")
        return f"{start}{MARK}{digest}" if clashes(name, self.folders) else name
