"""Keeps a worker alive, and closes lost runs while it does: what `make worker` starts."""

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time

import httpx
from background import say
from lost import close_lost, retry_forgotten

LOOK_SECONDS = 10
"""Between two searches for lost runs."""
LONGEST_WAIT_SECONDS = 60
"""Between the end of a worker and the start of the next, at most."""
PDEATHSIG = 1
"""Linux: PR_SET_PDEATHSIG of prctl."""


def keep(url: str, pool: str, name: str) -> None:
    """Start a worker, look after lost runs, start another worker when it ends; until a signal says
    to end, which is passed on: the worker waits for its runs to say how they end.
    """
    ending, worker, wait = False, None, 1.0

    def end(*_: object) -> None:
        nonlocal ending
        ending = True
        if worker:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    while not ending:
        begun = time.monotonic()
        options = ["--pool", pool, "--name", name, "--install-policy", "never"]
        command = [sys.executable, "-m", "prefect", "--no-prompt", "worker", "start", *options]
        worker = subprocess.Popen(command, preexec_fn=die_with_parent)
        while worker.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(LOOK_SECONDS)
            if not ending:
                look(url, pool)
        if ending:
            return
        wait = 1.0 if time.monotonic() - begun > LONGEST_WAIT_SECONDS else 2 * wait
        say(f"the worker ended with {worker.returncode}; another starts")
        time.sleep(min(wait, LONGEST_WAIT_SECONDS))
        name = worker_name()


def look(url: str, pool: str) -> None:
    """Close lost runs, start forgotten ones; a server that is away is asked again next time."""
    try:
        say(*close_lost(url, pool), *retry_forgotten(url, pool))
    except (OSError, ValueError, httpx.HTTPError) as error:
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


if __name__ == "__main__":
    keep(*sys.argv[1:])
