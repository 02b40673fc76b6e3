"""Stage patches: an index of all stored patches, for searching those that resemble one patch."""

from collections.abc import Iterator

from tasks.stage import Finish, Stage
from tasks.workspace.workspace import Workspace


def stages(workspace: Workspace) -> Iterator[tuple[Stage | None, Finish]]:
    """What is missing for a search of every dump with features, each part planned once the one
    before it is finished: `for stage, finish in patches.stages(place): run_stage(stage, options,
    finish)`.

    The codebook is made once, from the dumps that the head was trained on; later dumps get parts
    of their own. Nothing is yielded where all parts are there.

    Raises:
        WorkspaceError: there are no features (an imported head has none).
    """
    raise NotImplementedError


def searchable(workspace: Workspace) -> list[str]:
    """Dumps whose patches can be searched, in order of arrival; none without features."""
    raise NotImplementedError
