"""`classes.toml`: names, colours, merged and ignored clusters; every revision of it is kept.

Revisions lie in `classes/CLUSTERS_KEY/REVISION-STAMP.toml` and are never rewritten; `classes.toml`
at the workspace's root is a copy of the last one, for people to read and to edit by hand. Nothing
of it lies in `current.json`, and no run needs it, so names may change while a run writes masks.
"""

import re
import tomllib
from dataclasses import asdict, astuple, dataclass
from typing import Annotated

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stego_core.errors import DamageError, InputError, OptionError, WorkspaceError
from stego_core.labels.class_names import ClassEntry, ClassNames
from tasks.log import Log
from tasks.workspace import keys, layout
from tasks.workspace.layout import CLASSES_FILE
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

log = Log(__name__)
REVISION_FILE = re.compile(r"\d{6}-[0-9a-f]{16}\.toml")
"""Name of a revision's file."""
OLD_UNDO = re.compile(r"undo to revision (\d+)")
"""Note of an undo: files from before `undoes` was stored say only there what they undo."""
HELP = (
    "Names of the clusters; `stego name` and `stego explore` edit this file, and you may.",
    "name, colour: as shown.  merged_into: the class that its pixels count as.",
    "ignored: its pixels belong to no class.  Masks are never made anew for a change here.",
)
"""Comments at the top of the file."""


class _Class(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: int
    name: str
    colour: Annotated[str, StringConstraints(to_lower=True)]
    merged_into: int | None = None
    ignored: bool = False


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    clusters: str
    revision: int = Field(ge=0)
    note: str = ""
    undoes: int | None = Field(None, ge=0)
    classes: list[_Class] = Field(alias="class")


@dataclass(frozen=True)
class NamedClasses:
    """A revision of the classes of one clustering.

    Attributes:
        revision: 0 before the first edit.
        note: what the last edit did.
        undoes: of an undo, the revision whose classes it brought back; None for any other edit.
    """

    clusters_key: str
    revision: int
    note: str
    classes: ClassNames
    undoes: int | None = None

    @property
    def stamp(self) -> str:
        """A digest that every edit changes; an edit states the one that it goes on from."""
        rows = [astuple(entry) for entry in self.classes.entries]
        return keys.digest(keys.canonical([self.clusters_key, self.revision, rows]))[:16]

    @property
    def path(self) -> str:
        """Where the revision is stored."""
        folder = layout.class_revisions(self.clusters_key)
        return f"{folder}/{self.revision:06d}-{self.stamp}.toml"

    def stored(self, workspace: Workspace) -> bool:
        """Whether the revision is stored; one written by hand is not."""
        return self.path in _revision_paths(workspace, self.clusters_key)


def current_names(workspace: Workspace) -> NamedClasses:
    """The classes of the workspace's current clusters.

    Raises:
        WorkspaceError: there are no clusters yet.
        InputError: `classes.toml` was edited into something that makes no sense.
    """
    last, file = _last_revision(workspace), _read_root(workspace)
    if file is None or file.clusters_key != last.clusters_key:
        return last
    # An edit that was killed half-way is stored, and the file is of the one before.
    return file if file.revision >= last.revision or not file.stored(workspace) else last


def _last_revision(workspace: Workspace) -> NamedClasses:
    """The last stored revision, else the classes as they were found."""
    summary = Summary(workspace)
    clusters_key = summary.require("clusters")
    if paths := _revision_paths(workspace, clusters_key):
        return read_names(workspace, paths[-1])
    return NamedClasses(clusters_key, 0, "as found", ClassNames.create(summary.automatic_names()))


def names_for_display(workspace: Workspace) -> NamedClasses | None:
    """The current classes, or those of the last revision, with a warning, where the file makes no
    sense; None before there are clusters.
    """
    if "clusters" not in Summary(workspace).keys:
        return None
    try:
        return current_names(workspace)
    except InputError as error:
        log.warning("classes of the last revision are shown", error=str(error))
        return _last_revision(workspace)


def names_of_previous_clusters(workspace: Workspace) -> NamedClasses | None:
    """The classes of the clusters before the current ones, if nobody named any since."""
    file = _read_root(workspace)
    clusters_key = Summary(workspace).require("clusters")
    return file if file is not None and file.clusters_key != clusters_key else None


def edit(
    workspace: Workspace,
    classes: ClassNames,
    note: str,
    stamp: str | None = None,
    undoes: int | None = None,
) -> NamedClasses:
    """Store a new revision and make it the current one.

    Args:
        classes: all of them, edited.
        note: what changed, for people.
        stamp: of the classes that were edited; None edits whatever is there.
        undoes: of an undo, the revision whose classes these are.

    Raises:
        WorkspaceError: somebody else edited them meanwhile.
        OptionError: the classes make no sense, or are those of other clusters.
    """
    now = current_names(workspace)
    if stamp is not None and stamp != now.stamp:
        raise WorkspaceError(
            f"the classes were changed meanwhile (revision {now.revision}: {now.note}); look at "
            "them and try again"
        )
    if len(classes.entries) != len(now.classes.entries):
        raise OptionError(
            f"{len(classes.entries)} classes were given for {len(now.classes.entries)} clusters"
        )
    edited = NamedClasses(now.clusters_key, now.revision + 1, note, classes.checked(), undoes)
    for names in (now, _read_root(workspace)):  # as found, or written by hand
        if names is not None and not names.stored(workspace):
            workspace.storage.write(names.path, _encoded(names))
    for path in (edited.path, CLASSES_FILE):
        workspace.storage.write(path, _encoded(edited))
    return edited


def carry(workspace: Workspace, clusters_key: str, classes: ClassNames, note: str) -> None:
    """Give clusters these classes before they become the current ones."""
    stored = revisions(workspace, clusters_key)
    file = _read_root(workspace)
    if file is not None and not file.stored(workspace):  # written by hand
        workspace.storage.write(file.path, _encoded(file))
    if stored and stored[-1].classes == classes:
        carried = stored[-1]
    else:
        revision = stored[-1].revision + 1 if stored else 1
        carried = NamedClasses(clusters_key, revision, note, classes.checked())
    for path in (carried.path, CLASSES_FILE):
        workspace.storage.write(path, _encoded(carried))


def undo(workspace: Workspace) -> NamedClasses:
    """Go back to the classes before the last edit; that is a new revision too, so it can be undone.

    Raises:
        WorkspaceError: nothing was edited.
    """
    before = names_before_edit(workspace)
    if before is None:
        raise WorkspaceError("there is no edit of the classes to undo")
    stamp, note = current_names(workspace).stamp, f"undo to revision {before.revision}"
    return edit(workspace, before.classes, note, stamp, before.revision)


def names_before_edit(workspace: Workspace) -> NamedClasses | None:
    """The classes that `undo` would go back to; None where there is no edit to undo.

    A second undo goes on backwards, from the revision that the first one brought back.
    """
    now, stored = current_names(workspace), history(workspace)
    if now.stored(workspace):
        limit = now.revision if now.undoes is None else now.undoes
        stored = [names for names in stored if names.revision < limit]
    return stored[-1] if stored else None


def history(workspace: Workspace) -> list[NamedClasses]:
    """Every stored revision of the current clusters' classes, oldest first."""
    return revisions(workspace, Summary(workspace).require("clusters"))


def revisions(workspace: Workspace, clusters_key: str) -> list[NamedClasses]:
    """Every stored revision of some clusters' classes, oldest first."""
    return [read_names(workspace, path) for path in _revision_paths(workspace, clusters_key)]


def _revision_paths(workspace: Workspace, clusters_key: str) -> list[str]:
    """Paths of the stored revisions; of two writers of one number, in the same order for all."""
    folder = layout.class_revisions(clusters_key)
    names = sorted(filter(REVISION_FILE.fullmatch, workspace.storage.names(folder)))
    return [f"{folder}/{name}" for name in names]


def _read_root(workspace: Workspace) -> NamedClasses | None:
    """`classes.toml`; None where there is none."""
    try:
        return read_names(workspace, CLASSES_FILE)
    except FileNotFoundError:
        return None
    except DamageError as error:
        raise InputError(
            f"{error}; mend it, or remove it to go back to the last revision"
        ) from None


def read_names(workspace: Workspace, path: str) -> NamedClasses:
    """A revision's file.

    Raises:
        DamageError: it makes no sense; says why.
    """
    try:
        content = workspace.storage.read(path).decode()
        document = _Document.model_validate(tomllib.loads(content))
        rows = sorted(document.classes, key=lambda row: row.id)
        if [row.id for row in rows] != list(range(len(rows))):
            raise OptionError("its ids are not 0, 1, 2 and so on, each once")
        entries = (ClassEntry(**row.model_dump(exclude={"id"})) for row in rows)
        classes = ClassNames(tuple(entries)).checked()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DamageError(f"{path} is not a list of classes ({field}: {first['msg']})") from None
    except (ValueError, OptionError) as error:
        raise DamageError(f"{path} is not a list of classes ({error})") from None
    undoes = document.undoes
    if undoes is None and (undo := OLD_UNDO.fullmatch(document.note)):
        undoes = int(undo[1])
    return NamedClasses(document.clusters, document.revision, document.note, classes, undoes)


def _encoded(names: NamedClasses) -> bytes:
    document = tomlkit.document()
    for line in HELP:
        document.add(tomlkit.comment(line))
    values = _Document(
        clusters=names.clusters_key,
        revision=names.revision,
        note=names.note,
        undoes=names.undoes,
        classes=[
            _Class(id=number, **asdict(entry)) for number, entry in enumerate(names.classes.entries)
        ],
    )
    document.update(values.model_dump(by_alias=True, exclude_defaults=True))
    return tomlkit.dumps(document).encode()
