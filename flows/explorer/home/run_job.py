"""The run that the page started: its process, how far it is, how it ended."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flows.explorer.home.run_request import Order
from flows.explorer.times import planned
from flows.explorer.times.planned import Planned
from flows.explorer.times.spoken import spoken
from stego_core.errors import INTERRUPTED, LATER, BusyError
from tasks.log import Log
from tasks.storage.threads import context_thread

log = Log(__name__)
COMMAND = (sys.executable, "-m", "flows.explorer.home.run_process")
MOST_SAID = 50
"""Sentences of a run that are kept, the last ones."""
END_SECONDS = 20.0
"""How long a run may take to end with the server, until its process is killed."""


@dataclass
class StageShown:
    """A stage as the page shows it."""

    title: str
    done: int
    total: int
    unit: str
    note: str
    before: int  # units that an earlier run had done
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    finished: bool = False

    def update(self, event: dict[str, Any]) -> None:
        """Take over how far it is now."""
        self.done, self.total, self.note = event["done"], event["total"], event["note"]
        self.finished = self.finished or event["finished"]
        self.seconds = time.monotonic() - self.begun

    def document(self) -> dict[str, Any]:
        """For the page; `left`: seconds until its end at this pace, None where nobody knows."""
        computed = self.done - self.before
        left = (self.total - self.done) * self.seconds / computed if computed > 0 else None
        names = ("title", "done", "total", "unit", "note", "finished")
        seconds = self.seconds if self.finished else time.monotonic() - self.begun
        fields = {name: getattr(self, name) for name in names}
        return {**fields, "seconds": seconds, "left": None if self.finished else left}


@dataclass
class Run:
    """A run of the page; `state` is "none", "running", "stopping", "stopped", "failed" or "done".

    `sentence` says why it failed, `later` whether trying again may help without a change;
    `planned` are its stages.
    """

    kind: str = ""
    dump: str = ""
    state: str = "none"
    sentence: str = ""
    later: bool = False
    planned: Sequence[Planned] = ()
    stages: dict[str, StageShown] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def is_under_way(self) -> bool:
        """Whether its process runs."""
        return self.state in ("running", "stopping")

    def take(self, line: dict[str, Any]) -> None:
        """Take over a line of its process."""
        if "stage" in line:
            event = line["stage"]
            names = ("title", "done", "total", "unit", "note")
            new = StageShown(**{name: event[name] for name in names}, before=event["done"])
            self.stages.setdefault(event["stage"], new).update(event)
        elif "said" in line:
            self.said = [*self.said, line["said"]][-MOST_SAID:]

    def end(self, code: int, sentence: str) -> None:
        """It has ended with this exit code."""
        stopped = self.state == "stopping" or code == INTERRUPTED
        self.state = "done" if code == 0 else "stopped" if stopped else "failed"
        self.sentence, self.later = ("" if stopped else sentence), code == LATER
        self.seconds = time.monotonic() - self.begun

    def document(self) -> dict[str, Any]:
        """For the page; `left`: about how long it takes until the end, None where nobody knows."""
        seconds = time.monotonic() - self.begun if self.is_under_way else self.seconds
        names = ("kind", "dump", "state", "sentence", "later", "said")
        fields = {name: getattr(self, name) for name in names}
        shown = list(self.stages.values())
        stages = [stage.document() for stage in shown]
        titles = [stage.title for stage in self.planned]
        left = planned.left(self.planned, shown) if self.is_under_way else None
        fields |= {"planned": titles, "left": left and spoken(*left)}
        return {**fields, "seconds": seconds, "stages": stages}


class RunJob:
    """At most one run at a time, in a process of its own: what it needs ends with it, and Ctrl-C
    in the terminal reaches the server alone.
    """

    def __init__(self, ended: Callable[[bool], None]) -> None:
        """`ended` is called after each run, in a thread, with whether it went well."""
        self.ended = ended
        self.run = Run()
        self.lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.thread: threading.Thread | None = None

    def begin(self, order: Order, planned: Sequence[Planned] = ()) -> None:
        """Start a run; BusyError if one is under way."""
        with self.lock:
            if self.run.is_under_way:
                raise BusyError("a run of this page is under way; let it end, or stop it")
            pipe = subprocess.PIPE
            process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, start_new_session=True)
            self.run = Run(order.kind, order.dump, "running", planned=planned)
            self.process = process
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once: its exit code is told
            process.stdin.write(json.dumps(order.document()).encode() + b"\n")
            process.stdin.flush()
        self.thread = context_thread(lambda: self._follow(self.run, process), "run")
        self.thread.start()

    def stop(self) -> None:
        """Have the run end; shards that are finished are kept."""
        with self.lock:
            if not self.run.is_under_way or self.process is None:
                return
            self.run.state = "stopping"
            assert self.process.stdin is not None
            with suppress(BrokenPipeError):
                self.process.stdin.close()

    def close(self) -> None:
        """End with the server."""
        self.stop()
        if self.thread is None or self.process is None:
            return
        self.thread.join(END_SECONDS)
        if self.process.poll() is None:
            self.process.kill()

    def _follow(self, run: Run, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        end = None
        for line in map(json.loads, process.stdout):
            run.take(line)
            end = line if "end" in line else end
        code = process.wait()  # by now it has let go of the workspace
        end = end or {"end": code, "sentence": _vanished(code)}
        self.ended(end["end"] == 0)
        run.end(end["end"], end["sentence"])
        if run.state == "failed":
            log.warning("the run of the page failed", cause=run.sentence)


def _vanished(code: int) -> str:
    """What to say of a process that ended without a word."""
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return (
        f"the run's process {how}, perhaps as the machine has too little memory; what is finished "
        "is kept, go on with it"
    )
