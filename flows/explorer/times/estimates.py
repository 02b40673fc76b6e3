"""How long a run will take: tried on a few images for the first one, else as in the run before."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flows.explorer.home.input_check import Found, default_classes
from flows.explorer.home.run_request import Order
from flows.explorer.times import planned
from flows.explorer.times.earlier import Earlier
from flows.explorer.times.planned import Planned
from flows.explorer.times.spoken import spoken
from stego_core.errors import StegoError
from stego_core.head import mean_shift
from tasks.clusters.code_sample import SPACES
from tasks.features.enough_images import CROPS
from tasks.log import Log
from tasks.storage.threads import context_thread
from tasks.trial import rates
from tasks.trial.rates import Rates, Work
from tasks.workspace import keys
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

log = Log(__name__)
COMMAND = (sys.executable, "-m", "flows.explorer.times.trial")
PATIENCE_SECONDS = 120.0
"""How long a trial may take, until the time counts as unknown."""
GROUPS = {
    "reading": ("corpus",),
    "features": ("features", "neighbors"),
    "training": ("head",),
    "clusters": ("codes", "k-means", "clusters"),
    "masks": ("masks",),
    "scores": ("scores",),
}
"""Stages that the page tells together, by the word for them."""
NOT_TRIED = "How long it takes is not known beforehand"


class Estimates:
    """Times of the orders that the page looks at; a trial runs in the background, one at a time."""

    def __init__(self, workspace: Workspace, known: Callable[[], None] = lambda: None) -> None:
        """For runs on this workspace; `known` is called after each trial, in a thread."""
        self.workspace, self.known = workspace, known
        self.lock = threading.Lock()
        self.tried: dict[str, Rates | str] = {}  # or why there are none
        self.asked: tuple[Order, Found] | None = None
        self.trying = ""  # the key of the trial under way
        self.process: subprocess.Popen[bytes] | None = None
        self.thread: threading.Thread | None = None

    def ask(self, order: Order, found: Found) -> None:
        """Have it found out how long an order takes, of which this was found."""
        with self.lock:
            self.asked = (order, found)
            key = _key(order, found)
            if not _is_tried(order, found) or key in self.tried:
                return
            if self.thread and self.thread.is_alive():
                self._supersede(key)
            else:
                self.thread = context_thread(self._try, "trial")
                self.thread.start()

    def _supersede(self, key: str) -> None:
        """Nobody waits for a trial under way that is of another order."""
        if self.trying != key:
            self.close()

    def document(self) -> dict[str, Any]:
        """What is known of the order that was asked for last.

        Returns:
            `state`: "none", "measuring", "known" or "unknown"; `sentence`, for people; `parts`:
            of groups of stages `[name, time]`.
        """
        with self.lock:
            asked = self.asked
        if asked is None:
            return _told("none", "")
        order, found = asked
        if reason := _why_not(order, found):
            return _told("unknown", f"{NOT_TRIED}: {reason}.")
        known = self.tried.get(_key(order, found))
        if order.kind == "run" and known is None:
            return _told("measuring", "Finding out how long it takes, on three of the images …")
        if isinstance(known, str):
            return _told("unknown", f"{NOT_TRIED}: {known}.")
        return summed_up(self.planned(order, found), order.kind)

    def planned(self, order: Order, found: Found | None) -> list[Planned]:
        """The stages of an order, with the seconds that are known; `found` None: of all dumps."""
        try:
            summary = Summary(self.workspace)
            dumps, seconds = summary.dumps, self._seconds(order, found, summary)
        except StegoError as error:  # a part of the workspace is damaged, or away
            log.warning("times of the run before cannot be read", cause=error)
            dumps, seconds = [], {}
        return planned.planned(order, dumps, seconds, bool(found and found.labelled))

    def close(self) -> None:
        """End with the server."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def _seconds(
        self, order: Order, found: Found | None, summary: Summary
    ) -> dict[str, float | None]:
        if found is None:
            return Earlier.of(summary).of_retraining()
        if order.kind == "backfill":
            return {} if found.videos else Earlier.of(summary).of_more(found.images)
        known = self.tried.get(_key(order, found))
        return rates.stage_seconds(known, _work(order, found)) if isinstance(known, Rates) else {}

    def _try(self) -> None:
        """Measure what is asked for, until nothing else is."""
        while (asked := self.asked) and _is_tried(*asked):
            key = self.trying = _key(*asked)
            if key in self.tried:
                return
            outcome = self._measured(*asked)
            with self.lock:
                if isinstance(outcome, Rates) or self.asked is asked:  # else it was superseded
                    self.tried[key] = outcome
            self.known()

    def _measured(self, order: Order, found: Found) -> Rates | str:
        sent = {"order": order.document(), "images": found.sample}
        pipe = subprocess.PIPE
        with subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe) as process:
            self.process = process
            try:
                output, _ = process.communicate(json.dumps(sent).encode() + b"\n", PATIENCE_SECONDS)
                answer = json.loads(output)
                return answer["error"] if "error" in answer else Rates.of(answer)
            except subprocess.TimeoutExpired:
                process.kill()
                return "a trial on three images took too long"
            except (ValueError, KeyError):
                return "a trial on three images failed; the terminal says why"


def summed_up(stages: Sequence[Planned], kind: str) -> dict[str, Any]:
    """What the page says of a plan."""
    whole = planned.span([stage.seconds for stage in stages])
    if whole is None:
        return _told("unknown", f"{NOT_TRIED}: the workspace does not say how long all of it took.")
    basis = "tried on a few of the images" if kind == "run" else "as fast as the run before"
    sentence = f"It takes {spoken(*whole)} on this machine ({basis}), longer if it is busy."
    return {**_told("known", sentence), "parts": _parts(stages)}


def _parts(stages: Sequence[Planned]) -> list[tuple[str, str]]:
    named = {
        word: planned.span([s.seconds for s in stages if s.title.split(" ")[0] in names])
        for word, names in GROUPS.items()
    }
    return [(word, spoken(*seconds)) for word, seconds in named.items() if seconds and seconds[1]]


def _told(state: str, sentence: str) -> dict[str, Any]:
    return {"state": state, "sentence": sentence, "parts": []}


def _why_not(order: Order, found: Found) -> str | None:
    """Why nothing can be said of an order's time; None where something can."""
    if found.problems:
        return "first see to what stands above"
    if found.videos:
        return "how many frames the videos give is not known"
    if order.options.compute.cluster != "local":
        return "the work is done on other machines"
    return None


def _is_tried(order: Order, found: Found) -> bool:
    """Whether a trial tells an order's time; others are as fast as the run before."""
    return order.kind == "run" and _why_not(order, found) is None


def _key(order: Order, found: Found) -> str:
    """What the rates of an order depend on; its weights, classes and steps are not among it."""
    options = order.options
    of_features = options.features.model_dump(mode="json", exclude={"weights"})
    of_head = options.head.model_dump(mode="json", exclude={"steps"})
    rest = options.masks.model_dump(mode="json"), options.compute.model_dump(mode="json")
    return keys.digest(keys.canonical([found.place, found.sample, of_features, of_head, *rest]))


def _work(order: Order, found: Found) -> Work:
    options = order.options
    given = options.clusters.classes
    classes = options.clusters.max_classes if given == "auto" else given or default_classes(found)
    return Work(
        images=found.images,
        sampled=min(found.images, options.features.max_training_images),
        crops=CROPS[options.features.crops],
        labelled=found.labelled or 0,
        steps=options.head.steps,
        restarts=options.clusters.restarts,
        spaces=len(SPACES) if options.head.recipe == mean_shift.RECIPE else 1,
        classes=classes,
    )
