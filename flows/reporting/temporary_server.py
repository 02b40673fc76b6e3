"""Prefect's temporary server, which starts beside the imports of whoever needs it.

Prefect itself starts one with the first flow, after it has imported the server's modules into the
same process, and waits for it meanwhile.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from flows.reporting.paused_collector import paused
from stego_core.errors import OutageError
from tasks.log import Log

log = Log(__name__)

URL = "PREFECT_API_URL"
AGAIN = "run the same command again: finished shards are kept"
EPHEMERAL = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}
"""What Prefect gives its own temporary server: no pages, only the services that a run needs."""
END_SECONDS = 5.0
"""Until a server that should end is killed."""


@dataclass
class Server:
    """A server's process and its address."""

    process: "subprocess.Popen[bytes]"
    url: str

    def wait(self, seconds: float) -> None:
        """Return as soon as it answers; OutageError if it ends before, or takes longer."""
        place = urlsplit(self.url)
        connection = HTTPConnection(place.netloc, timeout=seconds)
        try:
            connection.request("GET", f"{place.path}/health")
            status = connection.getresponse().status
            if status == HTTPStatus.OK:
                return
            how = f"status {status}"
        except (OSError, HTTPException) as error:
            with suppress(subprocess.TimeoutExpired):  # it may be ending: then the code tells more
                self.process.wait(1)
            code = self.process.poll()
            how = f"it ended with exit code {code}" if code is not None else str(error)
        finally:
            connection.close()
        raise OutageError(f"the temporary Prefect server did not answer ({how}); {AGAIN}")

    def end(self) -> None:
        """End it, and wait until it has."""
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


_running: Server | None = None


def address() -> str | None:
    """The API's address of the temporary server that this process uses; None without one."""
    return _running.url if _running else None


@contextmanager
def beside() -> Iterator[None]:
    """Start a server, import in the block what runs flows, then wait until the server answers.

    Where Prefect's settings name a server, that one is used and none is started. The server ends
    with this process.

    Raises:
        OutageError: it does not answer within Prefect's setting for that.
    """
    if os.environ.get(URL) or ("prefect" in sys.modules and not _wanted()):
        yield
        return
    server = _started()
    try:
        with paused():
            yield
        if _wanted():
            _use(server)
        else:
            server.end()
    except BaseException:
        server.end()
        raise


def _wanted() -> bool:
    """Whether Prefect's settings leave it to this process to start a server."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    return not settings.api.url and settings.server.ephemeral.enabled


def _started() -> Server:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor, port = listening.fileno(), listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.reporting.server_process", str(descriptor)],
            stdin=subprocess.PIPE,  # it ends when this end is closed, however this process ends
            pass_fds=[descriptor],
            start_new_session=True,  # Ctrl-C ends this process first, which says so to the server
            env={**os.environ, **EPHEMERAL},
        )
    return Server(process, f"http://127.0.0.1:{port}/api")


def _use(server: Server) -> None:
    global _running
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    begun = time.monotonic()
    server.wait(get_current_settings().server.ephemeral.startup_timeout_seconds)
    log.info("server answers", url=server.url, waited=round(time.monotonic() - begun, 1))
    atexit.register(server.end)  # before Prefect's own handlers are, so after them
    os.environ |= {URL: server.url, "PREFECT_UI_URL": ""}  # without pages, no links to them
    refresh_global_settings_context()
    _running = server
