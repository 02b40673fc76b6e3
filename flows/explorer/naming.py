"""Changes of the classes, as the page sends them."""

from collections.abc import Callable
from typing import Any

from starlette.routing import Route

from flows.explorer.answers import Body, changing
from stego_core.classes import Classes
from stego_core.errors import WorkspaceError
from tasks import classes, gallery
from tasks.classes import Named
from tasks.workspace.workspace import Workspace


class Stamped(Body):
    """A change of the classes that the page has: `stamp` says which."""

    stamp: str


class Rename(Stamped):
    """Another name of a class."""

    id: int
    name: str


class Recolour(Stamped):
    """Another colour of a class."""

    id: int
    colour: str


class Merge(Stamped):
    """Classes that count as another one; `into` None takes them apart."""

    ids: list[int]
    into: int | None


class Ignore(Stamped):
    """Classes whose pixels belong to none, or to them again."""

    ids: list[int]
    ignored: bool


def routes(workspace: Workspace) -> list[Route]:
    """Where changes of a workspace's classes are sent; each answers with the classes."""

    def edited(sent: Stamped, change: Callable[[Classes], Classes], what: str) -> dict[str, Any]:
        now = require(workspace, sent.stamp).classes
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
        require(workspace, sent.stamp)
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
