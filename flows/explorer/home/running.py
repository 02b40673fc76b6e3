"""Runs from the page: one is started when its images can be used, and the same one goes on."""

from contextlib import suppress
from typing import Any

from flows.explorer.home import input_check, retraining, run_request
from flows.explorer.home.input_check import Found
from flows.explorer.home.run_job import RunJob
from flows.explorer.home.run_request import RETRAIN, WITHOUT_IMAGES, Order, RunRequest, Setup
from flows.explorer.index_job import Searching
from flows.explorer.times import estimates
from flows.explorer.times.estimates import Estimates
from flows.runs.session import alone
from stego_core.errors import InputError, StegoError, WorkspaceError
from tasks.features.backbones import BUNDLED, BUNDLED_BACKBONE
from tasks.options import FeaturesOptions, StorageOptions
from tasks.workspace import lease
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

DEFAULT_BACKBONE = FeaturesOptions.model_fields["backbone"].default
BACKBONES = (
    {"name": "", "weights": "", "title": "DINO, a small vision transformer",
     "text": f"for photographs of any kind; {DEFAULT_BACKBONE}, downloaded once"},
    {"name": BUNDLED_BACKBONE, "weights": BUNDLED, "title": "The one that comes along",
     "text": "to try things out: tiny, needs no network, and has only ever seen generated scenes"},
)  # fmt: skip
"""Backbones that the page offers by name; any other one of timm can be typed."""


class Running:
    """The page's runs on a workspace, which need not be there yet."""

    def __init__(self, workspace: Workspace, setup: Setup, searching: Searching) -> None:
        """`searching` lets go of the workspace while a run writes it."""
        self.workspace, self.setup, self.searching = workspace, setup, searching
        self.job = RunJob(self._ended)
        self.estimates = Estimates(workspace, self._plan_again)
        self.ordered: tuple[Order, Found | None] | None = None
        self.ready = False

    def document(self) -> dict[str, Any]:
        """For the page.

        Returns:
            `workspace`: its URI; `ready`: whether there are masks; `run`: as `Run.document`;
            `request`: what was asked for and is not done, or None; `writer`: who else writes the
            workspace, or None; `allowed`: whether runs are started from here; `backbones`;
            `retrain`: as `retraining.suggestion`, with the `time` it takes, while nothing runs.
        """
        run, writer = self.job.run, None
        if not (run.is_under_way or self.searching.writing.locked()):
            with suppress(StegoError):
                writer = lease.writer(self.workspace.storage)
        asked = run_request.stored(self.workspace)
        return {
            "workspace": self.workspace.storage.uri,
            "ready": self._is_ready(),
            "run": run.document(),
            "request": asked and asked.model_dump(),
            "writer": writer,
            "allowed": self.setup.allowed,
            "backbones": BACKBONES,
            "retrain": None if run.is_under_way else self._retrain(),
        }

    def _retrain(self) -> dict[str, Any] | None:
        suggestion = retraining.suggestion(self.workspace)
        if suggestion is None:
            return None
        stages = self.estimates.planned(self.setup.order(RunRequest(kind=RETRAIN)), None)
        return {**suggestion, "time": estimates.summed_up(stages, RETRAIN)["sentence"]}

    def start(self, request: RunRequest) -> dict[str, Any]:
        """Start a run.

        Raises:
            BusyError: another run writes the workspace.
            InputError: the images cannot be used; OptionError, an option.
            WorkspaceError: there is nothing to train on again.
        """
        request, order, found = self._checked(request)
        self.searching.pause()
        try:
            with alone(self.workspace.storage.uri, StorageOptions(wait=0)):
                Workspace.create(self.workspace.storage.uri)
                run_request.store(self.workspace, request)
            self.ordered = order, found
            self.job.begin(order, self.estimates.planned(order, found))
        except BaseException:
            self.searching.resume()
            raise
        return self.document()

    def look(self, request: RunRequest) -> Found:
        """What lies at a place; how long a run on it takes is found out meanwhile."""
        order = self.setup.order(request)
        found = input_check.look(self.workspace, order)
        self.estimates.ask(order, found)
        return found

    def _plan_again(self) -> None:
        """The run began before its trial was over: from now on its times are known."""
        if self.ordered is not None and self.job.run.is_under_way:
            self.job.run.planned = self.estimates.planned(*self.ordered)

    def _checked(self, request: RunRequest) -> tuple[RunRequest, Order, Found | None]:
        """A request that can be met, with what was found for it; raises as `start`."""
        order = self.setup.order(request)
        if request.kind in WITHOUT_IMAGES:
            self.workspace.last_run()
            return request, order, None
        found = input_check.look(self.workspace, order)
        if found.problems:
            raise InputError(found.problems[0])
        if found.neighbors and request.neighbors is None:
            request = request.model_copy(update={"neighbors": found.neighbors})
            order = self.setup.order(request)
        return request, order, found

    def resume(self) -> dict[str, Any]:
        """Go on with what was asked for; WorkspaceError if nothing is left to do."""
        request = run_request.stored(self.workspace)
        if request is None:
            raise WorkspaceError("nothing is left to go on with; point at images")
        return self.start(request)

    def _is_ready(self) -> bool:
        """Whether there are masks; while a run makes the first ones, nobody need ask."""
        if not self.ready and not self.job.run.is_under_way:
            self.ready = has_masks(self.workspace)
        return self.ready

    def close(self) -> None:
        """End with the server."""
        self.estimates.close()
        self.job.close()

    def _ended(self, well: bool) -> None:
        if well:
            with suppress(StegoError, OSError):  # it is then offered again, and ends at once
                run_request.forget(self.workspace)
        self.searching.resume()


def has_masks(workspace: Workspace) -> bool:
    """Whether some dump can be looked at."""
    summary = Summary(workspace)
    return any(summary.done("masks", dump) for dump in summary.catalog)
