"""Where the index of patches lies, and which dumps it holds; loads neither torch nor faiss."""

from collections.abc import Sequence

from stego_core.errors import WorkspaceError
from tasks.features.rows import FeatureRows
from tasks.workspace import keys, layout
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

VERSION = 2
"""Raised whenever the same patches would give another index."""


def trained_rows(workspace: Workspace) -> FeatureRows:
    """Stored features of the dumps that the head was trained on.

    Raises:
        WorkspaceError: there are none.
    """
    summary = Summary(workspace)
    key, dumps = summary.keys.get("features"), summary.last_run.get("dumps", [])
    if key is None or not dumps:
        raise WorkspaceError(
            f"{workspace.storage.uri} has no stored features, so its patches cannot be searched; "
            "an imported head has none, train one with `stego run`"
        )
    return FeatureRows(workspace, key, tuple(dumps))


def index_path(trained: FeatureRows) -> str:
    """The folder of the index whose codebook is made from these rows."""
    return layout.patches(keys.key("patches", VERSION, None, trained.inputs()))


def codes_folder(workspace: Workspace, path: str, dump: str) -> Folder:
    """Where a dump's codes lie, a Zarr group."""
    return workspace.folder(path, layout.zarr(dump))


def recall_folder(workspace: Workspace, path: str, dumps: Sequence[str]) -> Folder:
    """The folder of the number of lists to scan for some dumps: the last part of an index."""
    return workspace.folder(path, "recall", keys.digest(keys.canonical(list(dumps)))[:16])


def searchable(workspace: Workspace) -> list[str]:
    """Dumps whose patches can be searched, in order of arrival; none without features.

    While a later dump is being added, they are the dumps before it.
    """
    try:
        path = index_path(trained_rows(workspace))
    except WorkspaceError:
        return []
    coded = [d for d in workspace.dumps() if codes_folder(workspace, path, d).finished]
    sets = (coded[:count] for count in range(len(coded), 0, -1))
    return next((some for some in sets if recall_folder(workspace, path, some).finished), [])
