"""The explorer as a process of its own, and clients that speak to it byte by byte."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from flows.explorer.app import STATIC, application
from flows.explorer.image_routes import Kind
from flows.explorer.state import Explorer
from tasks.storage import run_cache
from tasks.workspace.workspace import Workspace

PATIENCE = 60
DESCRIPTIONS = ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect")


class Answer(NamedTuple):
    """What a server sent back; status 0 where it sent nothing."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


class Running(NamedTuple):
    """A running `stego explore`."""

    process: "subprocess.Popen[str]"
    port: int
    token: str
    said: list[str]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def send(self, content: bytes) -> Answer:
        """Send bytes and read until the server ends the connection."""
        with self.connected() as connection:
            with suppress(ConnectionError):  # refused before it was all sent
                connection.sendall(content)
            return parsed(received(connection))

    def ask(
        self, target: str = "/", method: str = "GET", body: bytes = b"", **headers: str | None
    ) -> Answer:
        """A request with these headers; None leaves one out."""
        given: dict[str, str | None] = {"host": self.host, "connection": "close"}
        if body:
            given["content-length"] = str(len(body))
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
        return self.send(head.encode("latin-1") + body)

    def cookie(self) -> str:
        """The cookie that the printed address is exchanged for, as it is sent back."""
        answer = self.ask(f"/?token={self.token}")
        assert answer.status == 303
        return answer.headers["set-cookie"].split(";")[0]


def received(connection: socket.socket) -> bytes:
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def parsed(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1]) if raw.startswith(b"HTTP/1.") else 0
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    if "location" in headers or "set-cookie" in headers:  # as sent
        headers |= {n.lower(): v for n, v in (line.split(": ", 1) for line in lines[1:])}
    return Answer(status, headers, body, raw)


def snapshot(folder: Path) -> dict[str, str]:
    """Every file and link below a folder, and a digest of what it holds."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def exploring(workspace: Path, *flags: str, browser: str | None = None) -> Iterator[Running]:
    """`stego explore` on a free port, until the end of the block."""
    command = [sys.executable, "-m", "flows", "explore", "--workspace", str(workspace)]
    own = [] if browser else ["--no-browser"]
    with subprocess.Popen(
        [*command, "--port", "0", *own, *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "BROWSER": browser or ""},
    ) as process:  # fmt: skip
        try:
            said: list[str] = []
            assert process.stderr is not None
            while not (found := re.search(r"http://\S+?:(\d+)/\?token=(\S+)", "".join(said[-1:]))):
                said.append(process.stderr.readline())
                assert said[-1], "".join(said)
            yield Running(process, int(found[1]), found[2], said)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)


class Victim(NamedTuple):
    """A running explorer, what lies around it, and what nobody may learn."""

    running: Running
    folder: Path
    addresses: list[str]
    secrets: list[bytes]

    def told_nothing(self, answer: Answer, *statuses: int) -> None:
        """See that an answer is a refusal, and holds nothing of the workspace."""
        assert answer.status in (statuses or (401,)), answer.raw[:300]
        for secret in self.secrets:
            assert secret not in answer.raw, answer.raw[:300]
        assert "set-cookie" not in answer.headers
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.fixture(scope="session")
def victim(explored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """An explorer whose index is made, so that it writes nothing of its own accord any more."""
    folder = tmp_path_factory.mktemp("victim")
    shutil.copytree(explored / "ws", folder / "ws")
    with run_cache.during("victim"):
        addresses = served_addresses(Workspace.open(str(folder / "ws")))
    with exploring(folder / "ws") as running:
        cookie = running.cookie()
        while b'"ready"' not in running.ask("/api/index", cookie=cookie).body:
            assert running.process.poll() is None
        overview = json.loads(running.ask("/api/overview", cookie=cookie).body)
        names = [f'"{each["name"]}"'.encode() for each in overview["classes"]]
        told = [running.token, cookie.split("=")[1], str(folder), overview["stamp"]]
        files = [b"JFIF", b"\x89PNG", b"s000", b"import * as", b"--paper", b'id="legend"']
        secrets = [*names, *files, *(each.encode() for each in told)]
        yield Victim(running, folder, addresses, secrets)


def served_addresses(workspace: Workspace) -> list[str]:
    """Every address that answers to the page, and those where FastAPI would describe them."""
    paths = application(Explorer(workspace)).openapi()["paths"]
    named = [path.replace("{dump}", "train").replace("{row}", "0") for path in paths]
    filled = {path.replace("{kind}", kind) for path in named for kind in get_args(Kind)}
    static = {f"/static/{file.name}" for file in STATIC.iterdir()}
    return sorted({*filled, *static, *DESCRIPTIONS})


@pytest.fixture(autouse=True)
def untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test changes a file, of the workspace, its log, or beside it."""
    if "victim" not in request.fixturenames:
        yield
        return
    victim: Victim = request.getfixturevalue("victim")
    before = snapshot(victim.folder)
    yield
    assert snapshot(victim.folder) == before
    assert victim.running.process.poll() is None
    alive = victim.running.ask("/api/index", cookie=victim.running.cookie())
    assert alive.status == 200
