"""The index of patches, made in the background: the corpus-wide search waits for it, nothing else.

Making it writes the workspace, so it takes the writer's lease; where a run has that, it waits.
"""

import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.runs.session import alone
from stego_core.errors import BusyError, StegoError, StoppedError, WorkspaceError
from tasks.engine.progress import Progress
from tasks.log import Log
from tasks.options import StorageOptions
from tasks.storage.threads import context_thread
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds
    from tasks.engine.stage import Finish, Stage

log = Log(__name__)

FIRST_SECONDS = 5.0
"""Left to the first page of the gallery at most, which would wait for imports of seconds."""
BUSY_SECONDS = 5.0
"""Between looks at a workspace that a run writes."""
BUILDING = "the index of patches is being built"


@dataclass(frozen=True)
class State:
    """How far the index is: `state` is "loading", "building", "waiting", "ready", "failed", or
    "none" where no features are stored; `sentence` says it to people; `searchable` where some
    dump's patches can be searched already; `share` of the present part is done, 0 to 1.
    """

    state: str
    sentence: str
    searchable: bool = False
    share: float = 0.0


class Searching:
    """Keeps the index complete while the server runs."""

    def __init__(self, workspace: Workspace) -> None:
        """For this workspace; `start` begins."""
        self.workspace = workspace
        self.state = State("loading", "the index of patches is being looked for")
        self.stopping = threading.Event()
        self.requested = threading.Event()
        self.page_sent = threading.Event()
        self.thread = context_thread(self._run, "index")

    def start(self) -> None:
        """Begin."""
        self.requested.set()
        self.thread.start()

    def look(self) -> None:
        """Look whether something is missing now: a dump may have come."""
        self.requested.set()

    def stop(self) -> None:
        """End; a shard under way is finished first, for a few seconds."""
        for event in (self.stopping, self.requested, self.page_sent):
            event.set()
        self.thread.join(10)

    def document(self) -> dict[str, Any]:
        """The state, for the page."""
        return asdict(self.state)

    def _run(self) -> None:
        self.page_sent.wait(FIRST_SECONDS)
        while not self.stopping.is_set():
            self.requested.wait()
            self.requested.clear()
            try:
                self._complete()
            except StoppedError:
                return
            except Exception as error:
                if not isinstance(error, StegoError):
                    log.info("traceback", exc_info=True)
                log.warning("the index of patches cannot be made", cause=error)
                self._say("failed", f"the index of patches cannot be made: {error}")

    def _complete(self) -> None:
        from tasks.patch_index.patch_rows import PatchRows

        while not self.stopping.is_set():
            try:
                PatchRows.trained(self.workspace)
            except WorkspaceError as error:
                return self._say("none", str(error))
            if self._is_complete():
                return self._say("ready", "the patches of all dumps can be searched")
            try:
                with alone(self.workspace.storage.uri, StorageOptions(wait=0)):
                    self._build()
            except BusyError as error:
                self._say("waiting", f"the index of patches waits: {error}")
                self.stopping.wait(BUSY_SECONDS)

    def _is_complete(self) -> bool:
        from tasks.patch_index import patch_rows

        summary = Summary(self.workspace)
        dumps = {dump for dump in summary.dumps if summary.folder("features", dump)}
        return bool(dumps) and dumps <= set(patch_rows.searchable(self.workspace))

    def _build(self) -> None:
        from tasks.patch_index import stage as patches

        self._say("building", BUILDING)
        for stage, finish in patches.stages(self.workspace):
            if stage is not None:
                self._compute(stage, finish)

    def _compute(self, stage: "Stage", finish: "Finish") -> None:
        """A stage's missing shards, one after another in this thread."""
        from tasks.engine.steps import LoopExecutor

        begun = time.perf_counter()
        missing = stage.folder.missing(stage.shards)
        self._say("building", f"{BUILDING}: {stage.title}")
        with Progress(stage.title, stage.items, stage.unit, stage.rows_recorded()) as progress:
            for record in LoopExecutor().map(stage.work.steps(), missing, stage.title):
                progress.advance(record.rows[1] - record.rows[0])
                share = min(progress.done / max(stage.items, 1), 1.0)
                self._say("building", f"{BUILDING}: {stage.title}, {100 * share:.0f} %", share)
                if self.stopping.is_set():
                    raise StoppedError("stopped; the next start goes on with the index")
        finish(stage, time.perf_counter() - begun, len(missing))

    def _say(self, state: str, sentence: str, share: float = 0.0) -> None:
        from tasks.patch_index import patch_rows

        searchable = state == "ready" or bool(patch_rows.searchable(self.workspace))
        self.state = State(state, sentence, searchable, share)
