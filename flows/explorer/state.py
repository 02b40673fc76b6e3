"""What the server shows: a workspace, with what goes on in the background."""

from functools import cached_property
from typing import TYPE_CHECKING

from flows.explorer.export_jobs import Exporting, Roots
from flows.explorer.home.loose_image import LooseImages
from flows.explorer.home.run_request import Setup
from flows.explorer.home.running import Running
from flows.explorer.index_job import Searching
from flows.explorer.teaching.prepare_job import Preparing
from tasks.storage import run_cache
from tasks.workspace import keys
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds
    from tasks.teaching.preview import Teaching
    from tasks.teaching.questions import Questions


class Explorer:
    """A workspace, its index of patches, which is to be started, what teaching needs, its exports,
    which go inside the workspace where no roots are given, and its runs. `version` is of its state,
    as last looked at.
    """

    def __init__(
        self,
        workspace: Workspace,
        roots: Roots | None = None,
        editable: bool = True,
        setup: Setup | None = None,
    ) -> None:
        """Show this workspace, which need not be there yet; `setup` says how runs are started."""
        self.workspace = workspace
        self.searching = Searching(workspace)
        setup = setup or Setup(workspace.storage.uri)
        self.running = Running(workspace, setup, self.searching)
        self.preparing = Preparing(workspace, setup, self.searching)
        self.loose = LooseImages(workspace)
        self.exporting = Exporting(workspace, roots or Roots((workspace.exports,)))
        self.editable = editable
        self.renew()

    @cached_property
    def teaching(self) -> "Teaching":
        """What lessons make of the workspace; torch is imported when it is first asked for."""
        from tasks.teaching.preview import Teaching

        return Teaching(self.workspace)

    @cached_property
    def questions(self) -> "Questions":
        """Questions on it."""
        from tasks.teaching.questions import Questions

        return Questions(self.teaching)

    def renew(self) -> None:
        """Look at the workspace's state; what was remembered of another one is dropped.

        A backfill that ended, or a workspace made anew at the same place, is another state.
        """
        summary = Summary(self.workspace)
        entries = {dump: entry.document() for dump, entry in summary.catalog.items()}
        self.version = keys.digest(keys.canonical([summary.last_run, entries]))[:16]
        run_cache.renew(self.version)
