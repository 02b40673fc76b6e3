"""Changes of the classes, as the page sends them."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from starlette.routing import Route

from flows.explorer.answers import Body, Forbidden, changing
from stego_core.classes import Classes
from stego_core.errors import WorkspaceError
from tasks import classes, gallery
from tasks.classes import Named
from tasks.workspace.workspace import Workspace

Id = Annotated[int, Field(ge=0, le=255)]
Ids = Annotated[list[Id], Field(max_length=256)]
FORBIDDEN = (
    "classes cannot be changed here: this server is reached from other machines; start `stego "
    "explore` with --allow-changes, or without --host"
)
LONGEST = 1000
"""Characters of a name that are looked at; the error for those that are too long tells the name."""


class Stamped(Body):
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


class Ignore(Stamped):
    """Classes whose pixels belong to none, or to them again."""

    ids: Ids
    ignored: bool


def routes(workspace: Workspace, allowed: bool) -> list[Route]:
    """Where changes of a workspace's classes are sent; each answers with the classes, or with a
    refusal where changes are not allowed.
    """

    def current(stamp: str) -> Named:
        if not allowed:
            raise Forbidden(FORBIDDEN)
        return require(workspace, stamp)

    def edited(sent: Stamped, change: Callable[[Classes], Classes], what: str) -> dict[str, Any]:
        now = current(sent.stamp).classes
        after = change(now)
        classes.edit(workspace, after, f"{what} {differing(now, after)}", sent.stamp)
        return gallery.overview(workspace)

    def rename(sent: Rename) -> dict[str, Any]:
        return edited(sent, lambda now: now.edited(sent.id, name=sent.name), "renamed")

    def recolour(sent: Recolour) -> dict[str, Any]:
        return edited(sent, lambda now: now.edited(sent.id, colour=sent.colour), "recoloured")

    def merge(sent: Merge) -> dict[str, Any]:
        what = "taken apart" if sent.into is None else "merged"
        return edited(sent, lambda now: now.merged(sent.ids, sent.into), what)

    def ignore(sent: Ignore) -> dict[str, Any]:
        what = "ignored" if sent.ignored else "shown again"
        return edited(sent, lambda now: now.ignoring(sent.ids, sent.ignored), what)

    def undo(sent: Stamped) -> dict[str, Any]:
        current(sent.stamp)
        classes.undo(workspace)
        return gallery.overview(workspace)

    changes: dict[str, Any] = {
        "rename": changing(Rename, rename),
        "recolour": changing(Recolour, recolour),
        "merge": changing(Merge, merge),
        "ignore": changing(Ignore, ignore),
        "undo": changing(Stamped, undo),
    }
    return [
        Route(f"/api/classes/{name}", change, methods=["POST"]) for name, change in changes.items()
    ]


def require(workspace: Workspace, stamp: str) -> Named:
    """The classes, if they are those that the page has.

    Raises:
        WorkspaceError: somebody else changed them meanwhile.
    """
    now = classes.current(workspace)
    if now.stamp != stamp:
        raise WorkspaceError(
            f"the classes were changed meanwhile (revision {now.revision}: {now.note}); they are "
            "shown as they are now, try again"
        )
    return now


def differing(before: Classes, after: Classes) -> str:
    """Names of the classes that a change concerns, "old to new" where it is the name."""
    pairs = zip(before.entries, after.entries, strict=True)
    return ", ".join(
        old.name if old.name == new.name else f"{old.name} to {new.name}"
        for old, new in pairs
        if old != new
    )
