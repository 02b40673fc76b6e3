"""What a workspace is made of, for housekeeping: folders of a key, which stay or go as a whole."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tasks.storage.storage import File, Storage
from tasks.workspace import layout

KEY = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?")
"""A key, or the digest of a backbone's weights."""
KEYED = (
    layout.MASKS,
    layout.SCORES,
    layout.DRIFT,
    layout.PATCHES,
    layout.PATCH_GRAPHS,
    layout.IMAGE_FEATURES,
    layout.CLUSTERS,
    layout.HEADS,
    layout.PICIE,
    layout.NEIGHBORS,
    layout.FEATURES,
    layout.PRETRAIN,
    layout.BACKBONES,
    layout.OVERLAYS,
    layout.CONFIDENCE,
)
"""Folders of keys, what is made before what it is made from."""
INNER = {layout.SCORES: "probes", layout.DRIFT: "training", layout.NEIGHBORS: "of"}
"""A folder beside the keys: of linear probes, of moments, of names of tables."""
BESIDE_MASKS = (layout.OVERLAYS, layout.CONFIDENCE)
"""What the records of masks prove, too."""
UNKEYED = (
    layout.CORPUS,
    layout.FRAMES,
    layout.PREPARED,
    layout.CLASSES,
    layout.LESSONS,
    layout.REPORTS,
    layout.EXPORTS,
    layout.WRITERS,
)
"""Folders that have other names than keys; none of them is ever removed as a whole."""
FILES = (
    layout.ROOT_FILE,
    layout.CURRENT_FILE,
    layout.CATALOG_FILE,
    layout.REQUEST_FILE,
    layout.CLASSES_FILE,
)
"""Files beside the folders."""
LOG = "stego.log"


@dataclass(frozen=True)
class Unit:
    """Folders of one key that belong together, such as masks with their overlays and margins."""

    paths: tuple[str, ...]

    @property
    def path(self) -> str:
        """The first folder, which names the unit."""
        return self.paths[0]

    @property
    def top(self) -> str:
        """The folder of the workspace that it lies in."""
        return self.path.split("/")[0]

    @property
    def key(self) -> str:
        """Its key."""
        return self.path.rpartition("/")[2]


class Inventory(NamedTuple):
    """The units of a workspace, in the order in which they may be removed, and unknown names."""

    units: list[Unit]
    unknown: list[str]


def inventory(storage: Storage) -> Inventory:
    """Everything with a key, and paths that no version of this program made."""
    units, unknown, seen = list[Unit](), list[str](), set[str]()
    for top in KEYED:
        for path in _keyed(storage, top):
            key = path.rpartition("/")[2]
            if path in seen:
                continue
            if not KEY.fullmatch(key):
                unknown.append(path)
                continue
            beside = [f"{each}/{key}" for each in BESIDE_MASKS] if top == layout.MASKS else []
            units.append(Unit((path, *beside)))
            seen.update((path, *beside))
    return Inventory(units, sorted([*unknown, *_unknown_names(storage)]))


def _keyed(storage: Storage, top: str) -> Iterator[str]:
    inner = INNER.get(top)
    for name in storage.names(top):
        if name != inner:
            yield f"{top}/{name}"
    if inner and top != layout.NEIGHBORS:
        yield from (f"{top}/{inner}/{name}" for name in storage.names(f"{top}/{inner}"))


def _unknown_names(storage: Storage) -> list[str]:
    known = {*KEYED, *UNKEYED, *FILES}
    return [
        name for name in storage.names("") if name not in known and not name.startswith((".", LOG))
    ]


def files_of(storage: Storage, path: str) -> list[File]:
    """Every file below a folder, or the one file, by paths in the workspace; none if absent."""
    if not storage.exists(path):
        return []
    files = Storage(storage.full(path)).files()
    return [file._replace(path=_joined(path, file.path)) for file in files]


def _joined(path: str, name: str) -> str:
    return path if name == "." else f"{path}/{name}"  # a file is its own folder


def has_links(storage: Storage, files: list[File]) -> bool:
    """Whether some of these files lie behind a link, on a local disk, and so maybe elsewhere."""
    if not storage.is_local:
        return False
    root = os.path.realpath(storage.uri)
    folders = {os.path.dirname(file.path) for file in files}
    return any(os.path.realpath(os.path.join(root, each)) != f"{root}/{each}" for each in folders)
