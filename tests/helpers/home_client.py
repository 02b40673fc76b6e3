"""For the tests of the home page: its routes, and processes in the place of runs."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from explorer_client import guarded
from starlette.testclient import TestClient

from flows.explorer.home.run_request import Setup
from flows.explorer.state import Explorer
from tasks.storage import run_cache
from tasks.trial.rates import Rates
from tasks.workspace.workspace import Workspace


class Script:
    """A process in the place of a run's: it reads the order, then does what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, *steps: dict[str, Any] | str) -> None:
        """Print lines of JSON, or run Python, where `order` is what was ordered."""
        code = ["import json, os, sys, time", "order = json.loads(sys.stdin.readline())"]
        for step in steps:
            code.append(
                step if isinstance(step, str) else f"print({json.dumps(step)!r}, flush=True)"
            )
        command = (sys.executable, "-c", "\n".join(code))
        self.monkeypatch.setattr("flows.explorer.home.run_job.COMMAND", command)


class Home:
    """The home page's routes, as the page uses them."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, self.client = explorer, guarded(explorer)

    def look(self) -> dict[str, Any]:
        return dict(self.client.get("/api/home").json())

    def post(self, what: str, **body: Any) -> Any:
        return self.client.post(f"/api/home/{what}", json=body)

    def until(self, *states: str) -> dict[str, Any]:
        """The run, as soon as it is in one of these states."""
        for _ in range(600):
            run = self.look()["run"]
            if run["state"] in states:
                return dict(run)
            time.sleep(0.05)
        raise AssertionError(run)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A place where nothing is."""
    return Workspace.at(str(tmp_path / "ws"))


RATES = Rates(
    start=10.0, read=0.0, crop=0.0, pair=0.0, shifts=0.0, step=0.5, shifted=0.0, codes=0.0,
    restart=0.0, image=4.0, pixel=0.0, class_pixel=1e-7, pixels=1e6, workers=1,
)  # fmt: skip
"""What the process in the place of the trial tells: it measures nothing."""


@pytest.fixture
def home(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    told = (sys.executable, "-c", f"print({json.dumps(RATES.document())!r})")
    monkeypatch.setattr("flows.explorer.times.estimates.COMMAND", told)
    with run_cache.during("home"):
        place = workspace.storage.uri
        explorer = Explorer(workspace, setup=Setup(place, log=(f"{place}/stego.log", None, False)))
        yield Home(explorer)
        explorer.running.close()


@pytest.fixture
def fixed(workspace: Workspace) -> TestClient:
    """A client of a server that other machines reach."""
    return guarded(Explorer(workspace, setup=Setup(workspace.storage.uri, allowed=False)))
