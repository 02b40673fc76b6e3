"""`classes.toml`: names, colours, merged and ignored clusters, every revision of it kept.

Revisions lie in `classes/CLUSTERS_KEY/REVISION-DIGEST.toml` and are never rewritten; `classes.toml`
at the workspace's root is a copy of the last one, for people to read and to edit by hand. Nothing
of it lies in `current.json`, and no run needs it, so names may change while a run writes masks.
"""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stego_core.errors import DamageError, InputError, OptionError, WorkspaceError
from stego_core.labels.class_names import ClassEntry, ClassNames
from tasks.log import Log
from tasks.workspace import keys, layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

log = Log(__name__)
FILE = layout.CLASSES_FILE
REVISION = re.compile(r"\d{6}-[0-9a-f]{16}\.toml")
OLD_UNDO = re.compile(r"undo to revision (\d+)")
"""Note of an undo: files from before `undoes` was stored say only there what they undo."""
HELP = (
    "Names of the clusters; `stego name` and `stego explore` edit this file, and you may.",
    "name, colour: as shown.  merged_into: the class that its pixels count as.",
    "ignored: its pixels belong to no class.  Masks are never made anew for a change here.",
)


class _Class(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: int
    name: str
    colour: str
    merged_into: int | None = None
    ignored: bool = False


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    clusters: str
    revision: int = Field(ge=0)
    note: str = ""
    undoes: int | None = Field(None, ge=0)
    classes: list[_Class] = Field(alias="class")


@dataclass(frozen=True)
class Named:
    """The classes of one clustering, as they are now.

    Attributes:
        clusters_key: of which clustering.
        revision: 0 before the first edit.
        note: what the last edit did.
        classes: names and the rest.
        stamp: changes with every edit, by whatever hand; an edit states which one it goes on from.
        undoes: of an undo, the revision whose classes it brought back; None for any other edit.
    """

    clusters_key: str
    revision: int
    note: str
    classes: ClassNames
    stamp: str
    undoes: int | None = None


def current(workspace: Workspace) -> Named:
    """The classes of the workspace's current clusters.

    Raises:
        WorkspaceError: there are no clusters yet.
        InputError: `classes.toml` was edited into something that makes no sense.
    """
    last, file = _on_record(workspace), _root(workspace)
    if file is None or file.clusters_key != last.clusters_key:
        return last
    by_hand = _file_name(file) not in _stored(workspace, file.clusters_key)
    # An edit that was killed half-way is on record, and the file is of the one before.
    return file if by_hand or file.revision >= last.revision else last


def _on_record(workspace: Workspace) -> Named:
    """The last stored revision, else the classes as they were found."""
    summary = Summary(workspace)
    clusters_key = summary.require("clusters")
    stored = _stored(workspace, clusters_key)
    if stored:
        return _read(workspace, clusters_key, stored[-1])
    classes = ClassNames.create(summary.automatic_names())
    return Named(clusters_key, 0, "as found", classes, _stamp(clusters_key, 0, classes))


def shown(workspace: Workspace) -> Named | None:
    """The classes for showing them: those of the last revision, with a warning, where the file was
    edited into nonsense; None before there are clusters.
    """
    if "clusters" not in Summary(workspace).keys:
        return None
    try:
        return current(workspace)
    except InputError as error:
        log.warning("classes of the last revision are shown", error=str(error))
        return _on_record(workspace)


def previous(workspace: Workspace) -> Named | None:
    """The classes of the clusters before the current ones, if people named any since."""
    file = _root(workspace)
    clusters_key = Summary(workspace).require("clusters")
    return file if file is not None and file.clusters_key != clusters_key else None


def edit(
    workspace: Workspace,
    classes: ClassNames,
    note: str,
    stamp: str | None = None,
    undoes: int | None = None,
) -> Named:
    """Store a new revision and make it the current one.

    Args:
        workspace: whose classes.
        classes: all of them, edited.
        note: what changed, for people.
        stamp: of the classes that were edited; None edits whatever is there.
        undoes: of an undo, the revision whose classes these are.

    Raises:
        WorkspaceError: somebody else edited them meanwhile.
        OptionError: the classes make no sense, or are those of other clusters.
    """
    now = current(workspace)
    if stamp is not None and stamp != now.stamp:
        raise WorkspaceError(
            f"the classes were changed meanwhile (revision {now.revision}: {now.note}); look at "
            "them and try again"
        )
    if len(classes.entries) != len(now.classes.entries):
        raise OptionError(
            f"{len(classes.entries)} classes were given for {len(now.classes.entries)} clusters"
        )
    for before in (now, _root(workspace)):  # what was found, what was written by hand
        if before and _file_name(before) not in _stored(workspace, before.clusters_key):
            _store(workspace, before)
    number = now.revision + 1
    own = _stamp(now.clusters_key, number, classes.checked())
    revision = Named(now.clusters_key, number, note, classes, own, undoes)
    _store(workspace, revision)
    workspace.storage.write(FILE, _encoded(revision))
    return revision


def undo(workspace: Workspace) -> Named:
    """Go back to the classes before the last edit; that is a new revision too, so it can be undone.

    Raises:
        WorkspaceError: nothing was edited.
    """
    last = before(workspace)
    if last is None:
        raise WorkspaceError("there is no edit of the classes to undo")
    stamp, note = current(workspace).stamp, f"undo to revision {last.revision}"
    return edit(workspace, last.classes, note, stamp, last.revision)


def before(workspace: Workspace) -> Named | None:
    """The classes that `undo` would go back to; None where there is no edit to undo."""
    now = current(workspace)
    stored = history(workspace)
    by_hand = all(each.stamp != now.stamp for each in stored)
    found = [each for each in stored if by_hand or each.revision < now.revision]
    if (
        now.undoes is not None and not by_hand
    ):  # a second undo goes on backwards instead of back and forth
        found = [each for each in found if each.revision < now.undoes]
    return found[-1] if found else None


def history(workspace: Workspace) -> list[Named]:
    """Every stored revision of the current clusters' classes, oldest first."""
    clusters_key = Summary(workspace).require("clusters")
    return [_read(workspace, clusters_key, n) for n in _stored(workspace, clusters_key)]


def _folder(clusters_key: str) -> str:
    return layout.class_revisions(clusters_key)


def _root(workspace: Workspace) -> Named | None:
    try:
        return _parsed(workspace.storage.read(FILE), FILE)
    except FileNotFoundError:
        return None
    except DamageError as error:
        raise InputError(
            f"{error}; mend it, or remove it to go back to the last revision"
        ) from None


def _stored(workspace: Workspace, clusters_key: str) -> list[str]:
    """Names of the revisions' files; of two writers of one number, the same order for everybody."""
    names = workspace.storage.names(_folder(clusters_key))
    return sorted(name for name in names if REVISION.fullmatch(name))


def _read(workspace: Workspace, clusters_key: str, name: str) -> Named:
    path = f"{_folder(clusters_key)}/{name}"
    return _parsed(workspace.storage.read(path), path)


def _file_name(named: Named) -> str:
    return f"{named.revision:06d}-{named.stamp}.toml"


def _parsed(content: bytes, path: str) -> Named:
    """A revision's file.

    Raises:
        DamageError: it makes no sense; says why.
    """
    try:
        document = _Document.model_validate(tomllib.loads(content.decode()))
        rows = {each.id: each for each in document.classes}
        if sorted(rows) != list(range(len(document.classes))):
            raise OptionError("its ids are not 0, 1, 2 and so on, each once")
        classes = ClassNames(
            tuple(
                ClassEntry(row.name, row.colour.lower(), row.merged_into, row.ignored)
                for _, row in sorted(rows.items())
            )
        ).checked()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DamageError(f"{path} is not a list of classes ({place}: {first['msg']})") from None
    except (ValueError, OptionError) as error:
        raise DamageError(f"{path} is not a list of classes ({error})") from None
    stamp = _stamp(document.clusters, document.revision, classes)
    undoes = document.undoes
    if undoes is None and (undo := OLD_UNDO.fullmatch(document.note)):
        undoes = int(undo[1])
    return Named(document.clusters, document.revision, document.note, classes, stamp, undoes)


def _store(workspace: Workspace, named: Named) -> None:
    path = f"{_folder(named.clusters_key)}/{_file_name(named)}"
    workspace.storage.write(path, _encoded(named))


def _stamp(clusters_key: str, revision: int, classes: ClassNames) -> str:
    rows = [[e.name, e.colour, e.merged_into, e.ignored] for e in classes.entries]
    return keys.digest(keys.canonical([clusters_key, revision, rows]))[:16]


def _encoded(named: Named) -> bytes:
    document = tomlkit.document()
    for line in HELP:
        document.add(tomlkit.comment(line))
    document.add("clusters", tomlkit.item(named.clusters_key))
    document.add("revision", tomlkit.item(named.revision))
    document.add("note", tomlkit.item(named.note))
    if named.undoes is not None:
        document.add("undoes", tomlkit.item(named.undoes))
    rows = tomlkit.aot()
    for number, entry in enumerate(named.classes.entries):
        row = tomlkit.table()
        values: dict[str, Any] = {"id": number, "name": entry.name, "colour": entry.colour}
        if entry.merged_into is not None:
            values["merged_into"] = entry.merged_into
        if entry.ignored:
            values["ignored"] = True
        for name, value in values.items():
            row.add(name, value)
        rows.append(row)
    document.add("class", rows)
    return tomlkit.dumps(document).encode()
