"""Changes of the classes, as the page sends them; each answers with the classes."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from flows.explorer.answers import Change, Forbidden
from flows.explorer.parameters import Document, Open
from flows.explorer.state import Explorer
from stego_core.errors import WorkspaceError
from stego_core.labels.class_names import ClassNames
from tasks.browse import gallery
from tasks.class_names import classes_file, merge_suggestions
from tasks.class_names.classes_file import NamedClasses
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

Id = Annotated[int, Field(ge=0, le=255)]
Ids = Annotated[list[Id], Field(max_length=256)]
FORBIDDEN = (
    "classes cannot be changed here: this server is reached from other machines; start `stego "
    "explore` with --allow-changes, or without --host"
)
LONGEST = 1000
"""Characters of a name that are looked at; the error for those that are too long tells the name."""


class Stamped(Change):
    """A change of the classes that the page has: `stamp` says which."""

    stamp: str = Field(max_length=64)


class Rename(Stamped):
    """Another name of a class."""

    id: Id
    name: str = Field(max_length=LONGEST)


class Recolour(Stamped):
    """Another colour of a class."""

    id: Id
    colour: str = Field(max_length=16)


class Merge(Stamped):
    """Classes that count as another one; `into` None takes them apart."""

    ids: Ids
    into: Id | None


class MergeSuggested(Stamped):
    """Classes that are alike, merged into so many groups."""

    groups: Annotated[int, Field(ge=1, le=255)]


class Ignore(Stamped):
    """Classes whose pixels belong to none, or to them again."""

    ids: Ids
    ignored: bool


def _require_editable(explorer: Open) -> None:
    if not explorer.editable:
        raise Forbidden(FORBIDDEN)


router = APIRouter(prefix="/classes", dependencies=[Depends(_require_editable)])


@router.post("/rename")
def rename(explorer: Open, sent: Rename) -> Document:
    """Give a class another name."""
    return _edit(explorer, sent, "renamed", lambda now: now.edited(sent.id, name=sent.name))


@router.post("/recolour")
def recolour(explorer: Open, sent: Recolour) -> Document:
    """Give a class another colour."""
    return _edit(explorer, sent, "recoloured", lambda now: now.edited(sent.id, colour=sent.colour))


@router.post("/merge")
def merge(explorer: Open, sent: Merge) -> Document:
    """Have classes count as another one, or as themselves again."""
    verb = "taken apart" if sent.into is None else "merged"
    return _edit(explorer, sent, verb, lambda now: now.merged(sent.ids, sent.into))


@router.post("/merge-suggested")
def merge_suggested(explorer: Open, sent: MergeSuggested) -> Document:
    """Merge classes that are alike, as many as are left then."""
    summary = Summary(explorer.workspace)
    return _edit(
        explorer,
        sent,
        f"merged into {sent.groups} as suggested:",
        lambda now: merge_suggestions.suggestion(summary, now, sent.groups).taken(now),
    )


@router.post("/ignore")
def ignore(explorer: Open, sent: Ignore) -> Document:
    """Have the pixels of classes belong to none, or to them again."""
    verb = "ignored" if sent.ignored else "shown again"
    return _edit(explorer, sent, verb, lambda now: now.ignoring(sent.ids, sent.ignored))


@router.post("/undo")
def undo(explorer: Open, sent: Stamped) -> Document:
    """Take the last change back."""
    require(explorer.workspace, sent.stamp)
    classes_file.undo(explorer.workspace)
    return gallery.overview(explorer.workspace)


def _edit(
    explorer: Explorer, sent: Stamped, verb: str, change: Callable[[ClassNames], ClassNames]
) -> Document:
    before = require(explorer.workspace, sent.stamp).classes
    after = change(before)
    note = f"{verb} {differing(before, after)}"
    classes_file.edit(explorer.workspace, after, note, sent.stamp)
    return gallery.overview(explorer.workspace)


def require(workspace: Workspace, stamp: str) -> NamedClasses:
    """The classes, if they are those that the page has; else WorkspaceError."""
    now = classes_file.current_names(workspace)
    if now.stamp != stamp:
        raise WorkspaceError(
            f"the classes were changed meanwhile (revision {now.revision}: {now.note}); they are "
            "shown as they are now, try again"
        )
    return now


def differing(before: ClassNames, after: ClassNames) -> str:
    """Names of the classes that a change concerns, "old to new" where it is the name."""
    pairs = zip(before.entries, after.entries, strict=True)
    return ", ".join(
        old.name if old.name == new.name else f"{old.name} to {new.name}"
        for old, new in pairs
        if old != new
    )
