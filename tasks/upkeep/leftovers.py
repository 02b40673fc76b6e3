"""Parts of what stays that nobody reads any more: of finished stages, and of killed writers."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tasks.storage.local_files import partial_files
from tasks.storage.storage import Storage
from tasks.upkeep.units import KEY, Unit
from tasks.workspace import layout
from tasks.workspace.ledger import Folder

FINISHED = "the finished stage reads it no more"
SECOND = "a second copy, from which `stego doctor --repair` would mend the first"
KILLED = "left by a writer that was killed"
NAMES = "names of clusters that are gone"
MARK = "names a table that is gone"
OLD_SECONDS = 3600.0
"""A temporary file of this age is no longer being written."""


class Leftover(NamedTuple):
    """A folder or a file that may go."""

    path: str
    why: str


def leftovers(storage: Storage, kept: Sequence[Unit], now: float) -> Iterator[Leftover]:
    """What may always go."""
    for unit in kept:
        if unit.top == layout.CLUSTERS and _finished(storage, unit.path):
            yield Leftover(layout.codes(unit.path), FINISHED)
            yield Leftover(layout.restarts(unit.path), FINISHED)
        if unit.top == layout.NEIGHBORS and _tables_are_finished(storage, unit):
            yield Leftover(layout.neighbor_lists(unit.key), FINISHED)
    keys = {unit.key for unit in kept if unit.top == layout.NEIGHBORS}
    for dump in storage.names(layout.NEIGHBOR_MARKS):
        for key in storage.names(f"{layout.NEIGHBOR_MARKS}/{dump}"):
            if KEY.fullmatch(key) and key not in keys:
                yield Leftover(f"{layout.NEIGHBOR_MARKS}/{dump}/{key}", MARK)
    if storage.is_local:
        for path, modified in partial_files(storage.uri):
            if now - modified > OLD_SECONDS:
                yield Leftover(path, KILLED)


def second_copies(storage: Storage, kept: Sequence[Unit]) -> Iterator[Leftover]:
    """What only a repair would read: parts of tables, and checkpoints of finished trainings.

    Those of heads are no second copies: trainings of fewer steps go on from them.
    """
    for top in (layout.CORPUS, layout.FRAMES):
        for dump in _finished_names(storage, top):
            yield Leftover(f"{top}/{dump}/{layout.PARTS}", SECOND)
    for unit in kept:
        trained = unit.top in (layout.PICIE, layout.PRETRAIN, layout.SCORES)
        if trained and _finished(storage, unit.path):
            yield Leftover(f"{unit.path}/{layout.CHECKPOINTS}", SECOND)


def old_names(storage: Storage, kept: Collection[Unit]) -> Iterator[Leftover]:
    """Revisions of class names whose clusters are gone, or go now."""
    clusters = {unit.key for unit in kept if unit.top in (layout.CLUSTERS, layout.PICIE)}
    for key in storage.names(layout.CLASSES):
        if KEY.fullmatch(key) and key not in clusters:
            yield Leftover(layout.class_revisions(key), NAMES)


def _finished(storage: Storage, path: str) -> bool:
    return storage.exists(f"{path}/{layout.MANIFEST}")


def _finished_names(storage: Storage, top: str) -> list[str]:
    return [name for name in storage.names(top) if Folder(storage, f"{top}/{name}").finished]


def _tables_are_finished(storage: Storage, unit: Unit) -> bool:
    names = storage.folders(unit.path)
    tables = [name for name in names if name.endswith(layout.zarr(""))]
    return bool(tables) and all(_finished(storage, f"{unit.path}/{name}") for name in tables)
