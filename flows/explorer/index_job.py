"""The index of patches, made in the background: the corpus-wide search waits for it, nothing else.

Making it writes the workspace, so it takes the writer's lease; where a run has that, it waits.
"""

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.runs.session import alone
from stego_core.errors import BusyError, StegoError, StoppedError, WorkspaceError
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
        self.paused = threading.Event()
        self.writing = threading.Lock()  # held while the workspace is written
        self.thread = context_thread(self._run, "index")

    def start(self) -> None:
        """Begin."""
        self.requested.set()
        self.thread.start()

    def look(self) -> None:
        """Look whether something is missing now: a dump may have come."""
        self.requested.set()

    def pause(self) -> None:
        """Let go of the workspace, for a run; a shard under way is finished first."""
        self.paused.set()
        with self.writing:
            pass

    def resume(self) -> None:
        """Go on after `pause`; what a run has made is looked at."""
        self.paused.clear()
        self.look()

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
            except StoppedError as stopped:
                self._say("waiting", f"the index of patches {stopped}")
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
                with self.writing:
                    self.check_wanted()
                    with alone(self.workspace.storage.uri, StorageOptions(wait=0)):
                        self._build()
            except BusyError as error:
                self._say("waiting", f"the index of patches waits: {error}")
                self.stopping.wait(BUSY_SECONDS)

    def _is_complete(self) -> bool:
        from tasks.patch_index import patch_rows

        summary = Summary(self.workspace)
        dumps = {dump for dump in summary.catalog if summary.done("features", dump)}
        return bool(dumps) and dumps <= set(patch_rows.searchable(self.workspace))

    def _build(self) -> None:
        from tasks.patch_index import stage as patches

        self._say("building", BUILDING)
        for stage, finish in patches.stages(self.workspace):
            if stage is not None:
                self._compute(stage, finish)

    def _compute(self, stage: "Stage", finish: "Finish") -> None:
        """A stage's missing shards, one after another in this thread."""
        from tasks.engine.in_this_thread import compute_here

        def told(share: float | None) -> None:
            if share is None:
                return self._say("building", f"{BUILDING}: {stage.title}")
            self._say("building", f"{BUILDING}: {stage.title}, {100 * share:.0f} %", share)
            self.check_wanted()

        compute_here(stage, told, finish)

    def check_wanted(self) -> None:
        """Raise StoppedError where the server ends, or a run wants the workspace."""
        if self.stopping.is_set():
            raise StoppedError("is not ready; the next start goes on with it")
        if self.paused.is_set():
            raise StoppedError("waits for the run")

    def _say(self, state: str, sentence: str, share: float = 0.0) -> None:
        from tasks.patch_index import patch_rows

        searchable = state == "ready" or bool(patch_rows.searchable(self.workspace))
        self.state = State(state, sentence, searchable, share)
