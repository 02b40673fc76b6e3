"""What may be removed of a workspace, and its removal, which may be killed at any moment."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tasks.engine.prefetch import ahead
from tasks.engine.progress import Progress
from tasks.storage.local_files import remove_empty_folders
from tasks.storage.storage import READS_AT_ONCE, File, Storage
from tasks.storage.threads import ContextThreadPool
from tasks.upkeep.leftovers import Leftover, leftovers, old_names, second_copies
from tasks.upkeep.reachability import used_keys
from tasks.upkeep.units import Unit, files_of, has_links, inventory
from tasks.workspace import kept_documents, layout, lease
from tasks.workspace.workspace import Workspace

LISTED_AHEAD = 4
"""Folders that are listed at the same time."""
UNUSED = "no current key leads to it"
DAY = 86_400.0
"""Seconds of a day."""


class PruneOptions(NamedTuple):
    """What goes beside what always goes.

    Attributes:
        days: what was written in the last so many days stays: a killed run may go on from it.
        second_copies: also parts and checkpoints that only a repair would read.
        pretrained: also backbones that were trained here.
        names: also class names of clusters that are gone.
    """

    days: float = 7.0
    second_copies: bool = False
    pretrained: bool = False
    names: bool = False


@dataclass(frozen=True)
class Entry:
    """Folders or files that go, or stay though nothing current is made from them."""

    sources: tuple[Leftover, ...]
    files: int
    bytes: int
    newest: float  # seconds since 1970; 0 where the store does not say
    linked: bool  # whether something lies behind a link

    @property
    def path(self) -> str:
        """The first of the folders, which names the entry."""
        return self.sources[0].path

    def document(self, why: str) -> dict[str, Any]:
        """For people and scripts."""
        paths = [source.path for source in self.sources]
        return {"paths": paths, "files": self.files, "bytes": self.bytes, "why": why}


@dataclass
class PrunePlan:
    """What goes and what stays, with the reasons, and paths that are left alone as unknown."""

    going: list[tuple[Entry, str]] = field(default_factory=list)
    staying: list[tuple[Entry, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def document(self, workspace: Workspace, removed: bool) -> dict[str, Any]:
        """For people and scripts."""
        return {
            "workspace": workspace.storage.uri,
            "removed": removed,
            "bytes": sum(entry.bytes for entry, _ in self.going),
            "files": sum(entry.files for entry, _ in self.going),
            "folders": [entry.document(why) for entry, why in self.going],
            "kept": [entry.document(why) for entry, why in self.staying],
            "unknown": self.unknown,
        }


def plan(
    workspace: Workspace, options: PruneOptions, clock: Callable[[], float] = time.time
) -> PrunePlan:
    """What may be removed now; nothing is written. Raises as `used_keys`."""
    storage, now = workspace.storage, clock()
    units, unknown = inventory(storage)
    used = used_keys(workspace, units, ())
    unused = [unit for unit in units if unit.key not in used]
    measured = dict(zip(unused, _measured(storage, map(_of_unit, unused)), strict=True))
    since = now - options.days * DAY
    young = {u.key for u, entry in measured.items() if _is_young(entry, since, options.days)}
    if young:
        used = used_keys(workspace, units, young)
    made = PrunePlan(unknown=unknown)
    for unit, entry in measured.items():
        if reason := _reason_to_stay(unit, entry, used, options):
            made.staying.append((entry, reason))
        else:
            made.going.append((entry, UNUSED))
    gone = {entry.path for entry, _ in made.going}
    kept = [unit for unit in units if unit.path not in gone]
    parts = [*leftovers(storage, kept, now)]
    parts += second_copies(storage, kept) if options.second_copies else ()
    parts += old_names(storage, kept) if options.names else ()
    for part, entry in zip(parts, _measured(storage, [(p,) for p in parts]), strict=True):
        if entry.files:
            chosen = made.staying if entry.linked else made.going
            chosen.append((entry, LINKED if entry.linked else part.why))
    return made


LINKED = "it lies behind a link: remove it by hand"


def _of_unit(unit: Unit) -> tuple[Leftover, ...]:
    return tuple(Leftover(path, UNUSED) for path in unit.paths)


def _is_young(entry: Entry, since: float, days: float) -> bool:
    """Whether something of it was written since; always, where the store does not say when."""
    return days > 0 and (entry.newest > since or not entry.newest)


def _reason_to_stay(unit: Unit, entry: Entry, used: set[str], options: PruneOptions) -> str:
    """Why a folder stays that no current key leads to; empty where it goes."""
    if unit.top == layout.PRETRAIN and not options.pretrained:
        return "a backbone that was trained here; --pretrained takes it"
    if unit.key in used:
        return f"of the last {options.days:g} days, or something of these days is made from it"
    return LINKED if entry.linked else ""


def _measured(storage: Storage, parts: Iterable[tuple[Leftover, ...]]) -> Iterator[Entry]:
    def measure(sources: tuple[Leftover, ...]) -> Entry:
        files = _files(storage, sources)
        newest = (
            0.0
            if any(not f.modified for f in files)
            else max((f.modified for f in files), default=1.0)
        )
        total = sum(file.bytes for file in files)
        return Entry(sources, len(files), total, newest, has_links(storage, files))

    return (entry for _, entry in ahead(parts, measure, LISTED_AHEAD))


def _files(storage: Storage, sources: Sequence[Leftover]) -> list[File]:
    return [file for source in sources for file in files_of(storage, source.path)]


def remove(workspace: Workspace, planned: PrunePlan) -> None:
    """Remove what goes; only whoever holds the lease does so.

    Manifests go first, then records, then what they prove: a kill leaves a folder that says of
    nothing that it is there, and the next prune or the next run deals with it.

    Raises:
        WorkspaceError: another run took the workspace over, or a file cannot be removed.
    """
    storage, total = workspace.storage, sum(entry.files for entry, _ in planned.going)
    with Progress("prune", total, "files") as progress, ContextThreadPool(READS_AT_ONCE) as pool:
        for entry, _ in planned.going:
            lease.check(storage)
            files = sorted(_files(storage, entry.sources), key=_order)
            for proof in (0, 1, 2):
                paths = [file.path for file in files if _order(file)[0] == proof]
                for _ in pool.map(storage.remove, paths):
                    progress.advance(1)
                kept_documents.forget(storage)
            if storage.is_local:
                for source in entry.sources:
                    remove_empty_folders(storage.full(source.path))


def _order(file: File) -> tuple[int, int, str]:
    """Manifests first, outer ones before inner ones; then records; then the rest."""
    *folders, name = file.path.split("/")
    kind = 0 if name == layout.MANIFEST else 1 if folders[-1] == layout.RECORDS else 2
    return kind, len(folders), file.path
