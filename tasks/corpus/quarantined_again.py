"""A new dump of the images that an earlier one could not have: the same rows, tried again."""

import re
from typing import Any

from stego_core.errors import InputError
from tasks.corpus.listing import facts_of
from tasks.files.left_out import LeftOutCounts
from tasks.sources.forms import AGAIN
from tasks.sources.reading import MemberReader
from tasks.sources.uri_lists import ListColumns
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

SUFFIX = "-again-"  # between the first dump's name and a number


def next_name(workspace: Workspace, dump: str) -> tuple[str, str]:
    """The last dump of those that tried a dump again, and the name of one more."""
    first = re.sub(rf"{SUFFIX}\d+$", "", dump)
    names = workspace.dumps()
    number, last = 1, first
    while f"{first}{SUFFIX}{number}" in names:
        last = f"{first}{SUFFIX}{number}"
        number += 1
    return last, f"{first}{SUFFIX}{number}"


def quarantined_rows(workspace: Workspace, dump: str) -> list[dict[str, Any]]:
    """Rows of a dump's listing whose images never got a row of its index."""
    folder = workspace.corpus(dump)

    def column(file: str) -> set[str]:
        path = f"{folder.path}/{file}"
        return set(tables.read_columns(folder.storage, path, ["path"])["path"].tolist())

    lacking = column(layout.QUARANTINE_FILE) - column(layout.INDEX_FILE)
    if not lacking:
        return []
    table = tables.read_table(folder.storage, f"{folder.path}/{layout.LISTING_FILE}")
    return [row for row in table.to_pylist() if row["path"] in lacking and not row.get("clip")]


def list_again(
    workspace: Workspace, location: str, columns: dict[str, str]
) -> tuple[dict[str, list[Any]], LeftOutCounts, MemberReader]:
    """Columns of the listing of a dump at `quarantined://NAME`, and what reads its images.

    Raises:
        InputError: there is no such dump, nothing of it is quarantined, or its images are pages.
    """
    dump = location.removeprefix(AGAIN)
    if dump not in workspace.dumps():
        raise InputError(f"there is no dump {dump!r}; there are {', '.join(workspace.dumps())}")
    manifest = workspace.corpus(dump).manifest()
    rows = quarantined_rows(workspace, dump)
    if not rows:
        raise InputError(f"no image of dump {dump} is quarantined; there is nothing to try again")
    if "pages" in manifest:
        raise InputError(f"images of dump {dump} are pages of files; index them as a new dump")
    reader = MemberReader.of(manifest.get("members"))
    if reader is None:
        reader = MemberReader(manifest["images_uri"], ListColumns())
        for row in rows:
            _add_places(row, workspace.corpus(dump))
    values = {name: [row.get(name) for row in rows] for name in columns}
    return values, LeftOutCounts(), reader


def _add_places(row: dict[str, Any], folder: Folder) -> None:
    """Say where the files of an image of a folder lie, as rows of lists do."""
    facts = facts_of(folder)
    row["object"] = Storage(facts["images_root"]).full(row["path"])
    if row["label"] is not None and facts["labels_root"] and not facts["coco"]:
        row["label_object"] = Storage(facts["labels_root"]).full(row["label"])
    else:
        row["label"] = None
