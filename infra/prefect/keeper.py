"""Keeps a worker alive, and closes lost runs while it does: what `make worker` starts."""

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from typing import Any

import httpx
from background import say
from lost import close_lost, retry_forgotten

LOOK_SECONDS = 10
"""Between two searches for lost runs."""
LONGEST_WAIT_SECONDS = 60
"""Between the end of a worker and the start of the next, at most."""
PDEATHSIG = 1
"""Linux: PR_SET_PDEATHSIG of prctl."""


class Keeper:
    """One worker at a time, until somebody asks for the end."""

    def __init__(self, url: str, pool: str, name: str) -> None:
        """Nothing is started yet; `name` is that of the first worker."""
        self.url, self.pool, self.name = url, pool, name
        self.ending = False
        self.worker: subprocess.Popen[bytes] | None = None

    def end(self, number: int, frame: FrameType | None) -> None:
        """Pass the signal on; the worker waits for its runs to say how they end."""
        self.ending = True
        if self.worker:
            with contextlib.suppress(ProcessLookupError):
                self.worker.send_signal(signal.SIGTERM)

    def keep(self) -> None:
        """Start a worker, look after lost runs, start another worker when it ends."""
        wait = 1.0
        while not self.ending:
            begun = time.monotonic()
            options = ["--pool", self.pool, "--name", self.name, "--install-policy", "never"]
            command = [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", *options]
            self.worker = subprocess.Popen(command, preexec_fn=die_with_parent)
            while self.worker.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.worker.wait(LOOK_SECONDS)
                if not self.ending:
                    self.look()
            if self.ending:
                return
            wait = 1.0 if time.monotonic() - begun > LONGEST_WAIT_SECONDS else 2 * wait
            say(f"the worker ended with {self.worker.returncode}; another starts")
            time.sleep(min(wait, LONGEST_WAIT_SECONDS))
            self.name = worker_name()

    def look(self) -> None:
        """Close lost runs, start forgotten ones; a server that is away is asked again next time."""
        try:
            say(*close_lost(self.url, self.pool), *retry_forgotten(self.url, self.pool))
        except (httpx.HTTPError, ValueError) as error:
            say(f"lost runs could not be looked for: {error}")


def worker_name() -> str:
    """A name that tells the machine, and this worker from those before it."""
    return f"{socket.gethostname()}-{time.time_ns()}"


def die_with_parent() -> None:
    """In the worker, on Linux: end when the keeper does, so that no second one starts beside it.

    Runs have sessions of their own and go on.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Keep the worker of URL, POOL and NAME."""
    keeper = Keeper(*arguments)
    handler: Any = keeper.end
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
    keeper.keep()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
