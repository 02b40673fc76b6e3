"""A process in the background that outlives the command which started it."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
"""A process that is not ready by then has failed."""
STOP_SECONDS = 20
"""A process that has not ended by then is killed."""
ERROR = re.compile(r"[\w.]+(Error|Exception|Refused)\b.*: ?")
"""How the last line of a traceback begins."""


class ServiceError(Exception):
    """What a person has to mend; shown as one sentence."""


def say(*lines: str) -> None:
    """Print lines for the person."""
    for line in lines:
        print(line, flush=True)


def folder() -> Path:
    """Where logs, pid files and, unless PREFECT_HOME says otherwise, the database lie."""
    return Path(os.environ.get("STEGO_SERVICES") or ROOT / ".services") / "prefect"


class Service:
    """A named process: its pid file, its log, its start and its end.

    Its pid file stays locked as long as the process lives, because the process inherits the
    open file: neither kill -9 nor a pid that was given away again can mislead.
    """

    def __init__(self, name: str) -> None:
        """Name it; nothing is started."""
        self.name = name
        self.pid_file = folder() / f"{name}.pid"
        self.log = folder() / f"{name}.log"

    def running(self) -> dict[str, Any] | None:
        """`pid` and `url` of the process, or None if there is none."""
        if not self.pid_file.exists():
            return None
        with self.pid_file.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                process: dict[str, Any] = json.loads(file.read() or "{}")
                return process
        return None

    def start(self, command: list[str], environment: Mapping[str, str], url: str) -> None:
        """Start the process in a session of its own, unless it runs already."""
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.pid_file.open("a+") as file, self.log.open("ab") as log:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[file.fileno()],
            )
            file.truncate(0)
            file.write(json.dumps({"pid": process.pid, "url": url}))

    def wait(self, ready: Callable[[], bool]) -> None:
        """Return when it is ready; ServiceError if it ended instead, or was not in time."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.running() is None:
                raise ServiceError(
                    f"the {self.name} ended while starting ({self.last_error()}); see {self.log}"
                )
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"the {self.name} was not ready after {START_SECONDS} s; see {self.log}"
                )
            time.sleep(0.2)

    def last_error(self) -> str:
        """The last error in its log, else its last line."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").split("\n")]
        lines = [line for line in lines if line] or ["it said nothing"]
        errors = [line for line in lines if ERROR.match(line)]
        return (errors or lines)[-1][:300]

    def stop(self) -> bool:
        """End the process and what it started, by force after a while; False: none ran.

        The whole group gets the signal, so that a run can still report its end to the server.
        """
        process = self.running()
        if process is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process["pid"], signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while time.monotonic() < deadline:
                os.killpg(process["pid"], 0)
                time.sleep(0.1)
            os.killpg(process["pid"], signal.SIGKILL)
        return True
