"""Where the index of patches lies, and which dumps it holds; loads neither torch nor faiss."""

from stego_core.errors import WorkspaceError
from tasks.rows import FeatureRows
from tasks.summary import Summary
from tasks.workspace import keys
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

VERSION = 1


def trained_rows(workspace: Workspace) -> FeatureRows:
    """Stored features of the dumps that the head was trained on.

    Raises:
        WorkspaceError: there are none.
    """
    summary = Summary(workspace)
    key, dumps = summary.keys.get("features"), summary.current.get("dumps", [])
    if key is None or not dumps:
        raise WorkspaceError(
            f"{workspace.storage.uri} has no stored features, so its patches cannot be searched; "
            "an imported head has none, train one with `stego run`"
        )
    return FeatureRows(workspace, key, tuple(dumps))


def index_path(trained: FeatureRows) -> str:
    """The folder of the index whose codebook is made from these rows."""
    return f"patches/{keys.key('patches', VERSION, None, trained.inputs())}"


def recall_folder(workspace: Workspace, path: str, dump: str) -> Folder:
    """The last part of a dump's index, which says how many cells to scan."""
    return workspace.folder(path, "recall", dump)


def searchable(workspace: Workspace) -> list[str]:
    """Dumps whose patches can be searched, in order of arrival; none without features."""
    try:
        path = index_path(trained_rows(workspace))
    except WorkspaceError:
        return []
    return [d for d in workspace.dumps() if recall_folder(workspace, path, d).finished]
