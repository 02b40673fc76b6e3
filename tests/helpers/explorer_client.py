"""For the tests of the explorer's routes: a client that has opened the printed address."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.explorer.app import application
from flows.explorer.guard import Guard
from flows.explorer.login import Login
from flows.explorer.state import Explorer
from tasks.storage import run_cache
from tasks.workspace.workspace import Workspace

HERE = "http://127.0.0.1:8765"


@pytest.fixture
def epoch() -> Iterator[None]:
    """What is remembered of a workspace ends with the test."""
    with run_cache.during("test"):
        yield


@pytest.fixture
def own(explored: Path, tmp_path: Path, epoch: None) -> Workspace:
    """A copy of the workspace that a test may change."""
    shutil.copytree(explored / "ws", tmp_path / "ws")
    return Workspace.open(str(tmp_path / "ws"))


def guarded(explorer: Explorer, login: Login | None = None) -> TestClient:
    """Somebody who has opened the printed address."""
    login = login or Login(8765)
    guard = Guard(application(explorer), "127.0.0.1", "127.0.0.1", login)
    asked = TestClient(guard, HERE, raise_server_exceptions=False)
    asked.cookies.set(login.cookie, login.session)
    return asked


def client(workspace: Workspace) -> TestClient:
    """The same of a workspace."""
    return guarded(Explorer(workspace))


@pytest.fixture
def asked(explored: Path, epoch: None) -> TestClient:
    """A client of the workspace that all tests share."""
    return client(Workspace.open(str(explored / "ws")))


def change(asked: TestClient, path: str, **body: Any) -> Any:
    """Send a change as the page does."""
    overview = asked.get("/api/overview").json()
    body = {"stamp": overview["stamp"], **body}
    return asked.post(f"/api/{path}", json=body)
