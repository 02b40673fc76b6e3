"""What teaching needs, made in the background once somebody wants to teach.

That is what each image is read as, and the graph of sampled patches; `stego teach` makes the same.
"""

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.explorer.home.run_request import Setup
from flows.explorer.index_job import BUSY_SECONDS, Searching
from flows.runs.session import alone
from flows.runs.settings import built
from stego_core.errors import BusyError, StegoError, StoppedError
from tasks.engine import machine
from tasks.log import Log
from tasks.options import StorageOptions
from tasks.storage.threads import context_thread
from tasks.workspace.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds
    from tasks.engine.stage import Finish, Stage

log = Log(__name__)
READING = "each image is read once, so that what a point changes is seen at once"


@dataclass(frozen=True)
class Prepared:
    """How far it is: `state` is "none", "working", "waiting", "ready" or "failed"; `sentence` says
    it to people; `share` of the present part is done, 0 to 1.
    """

    state: str = "none"
    sentence: str = ""
    share: float = 0.0


class Preparing:
    """Makes what teaching needs, where something is missing; it takes turns with the index."""

    def __init__(self, workspace: Workspace, setup: Setup, searching: Searching) -> None:
        """For this workspace; `start` begins."""
        self.workspace, self.setup, self.searching = workspace, setup, searching
        self.state = Prepared()
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it is under way."""
        with self.lock:
            if self.thread is not None and self.thread.is_alive():
                return
            self.state = Prepared("working", "what teaching needs is being looked for")
            self.thread = context_thread(self._run, "teaching")
            self.thread.start()

    def stop(self) -> None:
        """End with the server; a shard under way is finished first, for a few seconds."""
        self.stopping.set()
        if self.thread is not None:
            self.thread.join(10)

    def document(self) -> dict[str, Any]:
        """The state, for the page."""
        return asdict(self.state)

    def _run(self) -> None:
        try:
            while not self._complete():
                self.stopping.wait(BUSY_SECONDS)
        except Exception as error:
            if not isinstance(error, StegoError):
                log.info("traceback", exc_info=True)
            log.warning("teaching cannot be prepared", cause=error)
            self.state = Prepared("failed", f"teaching cannot be prepared: {error}")

    def _complete(self) -> bool:
        """Make what is missing; False where a run writes the workspace."""
        from tasks.teaching.ground import is_prepared

        try:
            if not is_prepared(self.workspace, self.workspace.dumps()):
                with self.searching.writing:
                    self._check_wanted()
                    with alone(self.workspace.storage.uri, StorageOptions(wait=0)):
                        for stage, finish in self._missing():
                            self._compute(stage, finish)
        except BusyError as error:
            self.state = Prepared("waiting", f"teaching waits: {error}")
            return self.stopping.is_set()
        except StoppedError as stopped:
            self.state = Prepared("waiting", f"teaching {stopped}")
            return self.stopping.is_set()
        self.state = Prepared("ready")
        return True

    def _missing(self) -> "Iterator[tuple[Stage, Finish]]":
        """Stages that are not finished, each planned when those before it are."""
        from tasks.engine.stage import Stage
        from tasks.teaching import graph, image_features
        from tasks.teaching.ground import sampled_dumps, spec_of

        spec, sampled = spec_of(self.workspace), sampled_dumps(self.workspace)
        device = machine.worker_device(built("compute", self.setup.sections.get("compute", {})))
        for dump in sampled:
            if stage := image_features.plan(self.workspace, dump, spec, device):
                yield stage, Stage.finish
        if stage := graph.plan(self.workspace, sampled, spec):
            yield stage, Stage.finish_single
        for dump in self.workspace.dumps():
            if stage := image_features.plan(self.workspace, dump, spec, device):
                yield stage, Stage.finish

    def _compute(self, stage: "Stage", finish: "Finish") -> None:
        from tasks.engine.in_this_thread import compute_here

        def told(share: float | None) -> None:
            percent = "" if share is None else f", {100 * share:.0f} %"
            self.state = Prepared("working", f"{READING}: {stage.title}{percent}", share or 0.0)
            if share is not None:
                self._check_wanted()

        compute_here(stage, told, finish)

    def _check_wanted(self) -> None:
        self.searching.check_wanted()
        if self.stopping.is_set():
            raise StoppedError("is not prepared; the next start goes on with it")
