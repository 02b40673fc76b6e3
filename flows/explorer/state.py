"""What the server shows: a workspace, with what goes on in the background."""

from flows.explorer.export_jobs import Exporting, Roots
from flows.explorer.index_job import Searching
from tasks.storage import run_cache
from tasks.workspace import keys
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


class Explorer:
    """A workspace, its index of patches, which is to be started, and its exports, which go inside
    the workspace where no roots are given. `version` is of its state, as last looked at.
    """

    def __init__(
        self, workspace: Workspace, roots: Roots | None = None, editable: bool = True
    ) -> None:
        """Show this workspace."""
        self.workspace = workspace
        self.searching = Searching(workspace)
        self.exporting = Exporting(workspace, roots or Roots((workspace.exports,)))
        self.editable = editable
        self.renew()

    def renew(self) -> None:
        """Look at the workspace's state; what was remembered of another one is dropped.

        A backfill that ended, or a workspace made anew at the same place, is another state.
        """
        summary = Summary(self.workspace)
        dumps = {
            dump: [
                self.workspace.corpus(dump).manifest(),
                *(summary.folder(stage, dump) is not None for stage in ("features", "masks")),
            ]
            for dump in summary.dumps
        }
        self.version = keys.digest(keys.canonical([summary.last_run, dumps]))[:16]
        run_cache.renew(self.version)
