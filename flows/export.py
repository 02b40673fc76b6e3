"""Exports: the masks of a workspace for another tool, as the command line asks for them."""

from collections.abc import Callable

from rich.text import Text

from flows import console
from tasks import exports
from tasks.options import ExportOptions
from tasks.workspace.storage import Storage
from tasks.workspace.workspace import Workspace

TOLD = 5
"""Images left out that are named."""


def export_masks(
    location: str, kind: str, out: str, dumps: list[str] | None, options: ExportOptions
) -> Callable[[], None]:
    """Write masks of dumps, with the classes as they are named now; returns what says so.

    Nothing is computed, so this is no flow: it would take longer to start one.

    Args:
        location: of the workspace.
        kind: the format.
        out: folder or URI, empty or with an earlier export of this format.
        dumps: their names; None for all.
        options: what the export holds beyond masks.

    Raises:
        StegoError: as `tasks.exports.export`.
    """
    place, target = Workspace.open(location), Storage.at(out)
    outcome = exports.export(place, kind, target, dumps, options)

    def show() -> None:
        left_out = sum(counts["skipped"] for counts in outcome["dumps"].values())
        for row in outcome["skipped"][:TOLD]:
            console.say(f"left out: {row['dump']}/{row['path']}: {row['reason']}")
        if left_out > TOLD:
            console.say(f"… and {left_out - TOLD} more; export.json names all of them")
        line = f"{kind}: {outcome['images']} images in {target.uri}"
        told = f"{line}, {left_out} left out" if left_out else line
        console.results.print(Text(told), soft_wrap=True)

    return show
