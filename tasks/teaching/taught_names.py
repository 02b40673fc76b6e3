"""Which class each lesson means: a cluster by its name, else a class that people added."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from stego_core.errors import CapacityError
from stego_core.images.palette import palette
from stego_core.labels.class_names import ClassEntry, ClassNames, numbered
from stego_core.labels.void import VOID_BYTE
from tasks.class_names import classes_file
from tasks.class_names.classes_file import NamedClasses
from tasks.masks.segmenter import untaught_key
from tasks.teaching.lessons import Lesson
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

Renames = Mapping[str, str]
"""The name that took another's place, by that one casefolded."""


class Curriculum(NamedTuple):
    """Lessons with the ids of their classes.

    Attributes:
        lessons: those whose class is known, and the ids of these.
        problems: why others cannot be learned.
        classes: entries of the clusters, then of the classes that lessons add.
    """

    lessons: list[tuple[Lesson, int]]
    problems: list[str]
    classes: ClassNames


def curriculum(
    workspace: Workspace, lessons: Sequence[Lesson], clusters_key: str, clusters: int
) -> Curriculum:
    """Find each lesson's class among the workspace's current names.

    A name that people changed since means what it is called now. Names that no cluster has are
    added after the clusters, in the order in which they were taught.

    Args:
        lessons: those in force.
        clusters_key: of the clusters that are taught.
        clusters: K of them.

    Raises:
        CapacityError: there are more classes than a mask can hold.
    """
    now = classes_file.current_names(workspace).classes
    roots = {entry.name.casefold(): now.root(n) for n, entry in enumerate(now.entries)}
    known = {name: root for name, root in roots.items() if root < clusters}
    renames = {key: _renames(workspace, key) for key in {lesson.clusters for lesson in lessons}}
    numbers = {numbered(n) for n in range(VOID_BYTE)}
    added: dict[str, str] = {}
    found, problems = list[tuple[Lesson, str]](), list[str]()
    for lesson in lessons:
        name_now = _name_now(lesson.name, renames[lesson.clusters])
        name = name_now.casefold()
        if name in numbers and lesson.clusters != clusters_key:
            problems.append(f"{lesson.name!r} was a cluster of an earlier model without a name")
            continue
        if name not in known:
            added.setdefault(name, name_now)
        found.append((lesson, name))
    ids = known | {name: number for number, name in enumerate(added, clusters)}
    classes = _with_added(now, clusters, added)
    return Curriculum([(lesson, ids[name]) for lesson, name in found], problems, classes)


def _with_added(now: ClassNames, clusters: int, added: Mapping[str, str]) -> ClassNames:
    """The clusters' entries, then those of added names, as they look now if they are there."""
    total = clusters + len(added)
    if total > VOID_BYTE:
        raise CapacityError(
            f"the lessons and the clusters name {total} classes; a mask holds {VOID_BYTE} at most"
        )
    there = {entry.name.casefold(): entry for entry in now.entries[clusters:]}
    colours = [f"#{colour.tobytes().hex()}" for colour in palette(total)]
    new = [
        ClassEntry(there[key].name, there[key].colour)
        if key in there
        else ClassEntry(name, colours[number])
        for number, (key, name) in enumerate(added.items(), clusters)
    ]
    # None may be merged into an added class that is not there any more, or has another id.
    old = (
        ClassEntry(
            entry.name,
            entry.colour,
            None if (entry.merged_into or 0) >= clusters else entry.merged_into,
            entry.ignored,
        )
        for entry in now.entries[:clusters]
    )
    return ClassNames((*old, *new)).checked()


def _name_now(name: str, renames: Renames) -> str:
    seen = set[str]()
    while (key := name.casefold()) in renames and key not in seen:
        seen.add(key)
        name = renames[key]
    return name


def _renames(workspace: Workspace, clusters_key: str) -> Renames:
    """What people renamed of some clusters, and of those that were taught from them."""
    renames: dict[str, str] = {}
    for key in workspace.storage.folders(layout.CLASSES):
        manifest = workspace.folder(layout.clusters(key)).manifest_or_none() or {}
        if untaught_key(key, manifest) == clusters_key:
            renames |= _changes(classes_file.revisions(workspace, key))
    return renames


def _changes(revisions: Iterable[NamedClasses]) -> Renames:
    renames: dict[str, str] = {}
    for before, after in pairwise(revisions):
        entries = zip(before.classes.entries, after.classes.entries, strict=False)
        for old, new in ((a.name.casefold(), b.name) for a, b in entries):
            if old != new.casefold():
                renames.pop(new.casefold(), None)  # so that an undo ends in no circle
                renames[old] = new
    return renames
