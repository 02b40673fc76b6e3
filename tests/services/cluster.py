"""Processes that a run elsewhere stands on: a Dask scheduler, its workers, a Prefect server."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 90


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Service:
    """A command in a process group of its own, that can be killed and started again.

    Attributes:
        command: what to run.
        log: file of its output.
        environment: of the process.
    """

    command: Sequence[str]
    log: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Service":
        """Start the command."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.log.parent,
                start_new_session=True,
            )
        return self

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9 of the whole group, as when a machine dies."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def output(self) -> str:
        """All it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass
class DaskCluster:
    """A scheduler and workers, each a process of its own.

    Attributes:
        address: of the scheduler.
        scheduler: its process.
        workers: theirs; killing one takes its nanny along.
    """

    address: str
    scheduler: Service
    workers: list[Service]


@contextmanager
def dask_cluster(
    folder: Path,
    workers: int = 2,
    environment: dict[str, str] | None = None,
    gpus: int = 0,
) -> Iterator[DaskCluster]:
    """A scheduler with workers of one thread each, as `dask scheduler` and `dask worker`.

    The first `gpus` of them announce a GPU.
    """
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    env = {**os.environ, **(environment or {})}
    dask = [sys.executable, "-m", "dask"]
    scheduler = Service(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        folder / "scheduler.log",
        env,
    )
    crew = [
        Service(
            [
                *(*dask, "worker", address, "--host", "127.0.0.1", "--nthreads", "1"),
                *("--no-dashboard", "--local-directory", str(folder / f"worker-{number}")),
                *(("--resources", "GPU=1") if number < gpus else ()),
            ],
            folder / f"worker-{number}.log",
            env,
        )
        for number in range(workers)
    ]
    try:
        scheduler.start()
        wait_for_port(port)
        for worker in crew:
            worker.start()
        yield DaskCluster(address, scheduler, crew)
    finally:
        for service in (*crew, scheduler):
            service.kill()


@contextmanager
def prefect_server(folder: Path) -> Iterator[tuple[Service, str]]:
    """A Prefect server on loopback; yields it and its API's URL."""
    port = free_port()
    env = {**os.environ, "PREFECT_HOME": str(folder / "prefect")}
    env.pop("PREFECT_API_URL", None)
    server = Service(
        [
            *(sys.executable, "-m", "prefect", "server", "start"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        folder / "server.log",
        env,
    )
    try:
        server.start()
        wait_for_prefect(port)
        yield server, f"http://127.0.0.1:{port}/api"
    finally:
        server.kill()


def wait_for_prefect(port: int) -> None:
    """Wait until the Prefect server on this port answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"no Prefect server on port {port} within {START_SECONDS} s")


def wait_for_port(port: int) -> None:
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nobody listens on port {port} within {START_SECONDS} s")
