"""What teaching needs is made in the background: it waits for runs, and says why it cannot be."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from teaching_client import TaughtPage, written_elsewhere

from tasks.workspace import lease
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]


def until(page: TaughtPage, state: str) -> dict[str, Any]:
    for _ in range(400):
        told = page.state()
        if told["prepared"]["state"] == state:
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def test_it_waits_for_a_run_then_is_made(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.explorer.teaching.prepare_job.BUSY_SECONDS", 0.05)
    page = TaughtPage(own)
    with written_elsewhere(own):
        page.post("prepare")
        told = until(page, "waiting")
        assert "is being written by process" in told["prepared"]["sentence"]
        assert not told["usable"]
    told = until(page, "ready")
    assert told["usable"]
    assert page.post("preview", points=[]).json()["changed"] == 0
    page.post("prepare")  # all of it is there
    until(page, "ready")
    page.explorer.preparing.stop()


def test_it_makes_way_for_a_run_of_the_page(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.explorer.teaching.prepare_job.BUSY_SECONDS", 0.05)
    page = TaughtPage(own)
    page.explorer.searching.pause()
    page.post("prepare")
    told = until(page, "waiting")
    assert told["prepared"]["sentence"] == "teaching waits for the run"
    with lease.writing(own.storage):
        pass
    page.explorer.searching.resume()
    until(page, "ready")
    page.explorer.preparing.stop()


def test_a_workspace_that_cannot_be_written_is_told(own: Workspace) -> None:
    folder = Path(own.storage.uri)
    shutil.rmtree(folder / "writers", ignore_errors=True)
    (folder / "writers").write_text("in the way of every claim")
    page = TaughtPage(own)
    page.post("prepare")
    told = until(page, "failed")
    assert "teaching cannot be prepared" in told["prepared"]["sentence"]
    page.explorer.preparing.stop()
