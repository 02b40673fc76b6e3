"""The index of patches in the background: it waits for runs, and says why it cannot be made."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from explorer_client import client, guarded

from flows.explorer.state import Explorer
from tasks.storage.storage import Storage
from tasks.workspace import lease
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]


def until(explorer: Explorer, state: str) -> dict[str, Any]:
    for _ in range(400):
        if explorer.searching.document()["state"] == state:
            return explorer.searching.document()
        time.sleep(0.05)
    raise AssertionError(explorer.searching.document())


@pytest.mark.long
def test_waits_for_a_run_then_is_built(own: Workspace) -> None:
    explorer = Explorer(own)
    asked = guarded(explorer)
    with lease.writing(Storage.at(own.storage.uri)):
        explorer.searching.start()
        told = until(explorer, "waiting")
        assert "is being written by process" in told["sentence"]
        assert not told["searchable"]
        assert asked.get("/api/page").status_code == 200
        refused = asked.get("/api/matches?dump=train&row=0&y=0.5&x=0.5")
        assert refused.status_code == 409
    until(explorer, "ready")
    items = asked.get("/api/matches?dump=train&row=0&y=0.5&x=0.5").json()["items"]
    explorer.searching.stop()
    assert items
    assert all((item["dump"], item["row"]) != ("train", 0) for item in items)
    similarities = [item["similarity"] for item in items]
    assert similarities == sorted(similarities, reverse=True)


def test_makes_way_for_a_run_of_the_page(own: Workspace) -> None:
    explorer = Explorer(own)
    explorer.searching.pause()
    explorer.searching.start()
    told = until(explorer, "waiting")
    assert told["sentence"] == "the index of patches waits for the run"
    with lease.writing(own.storage):
        pass
    explorer.searching.resume()
    until(explorer, "ready")
    explorer.searching.stop()


def test_a_workspace_that_cannot_be_written_shows_the_rest(own: Workspace) -> None:
    folder = Path(own.storage.uri)
    shutil.rmtree(folder / "writers", ignore_errors=True)
    (folder / "writers").write_text("in the way of every claim")
    explorer = Explorer(own)
    explorer.searching.start()
    told = until(explorer, "failed")
    explorer.searching.stop()
    assert "cannot be written" in told["sentence"]
    assert client(own).get("/api/page").json()["total"] == 6


def test_without_stored_features_there_is_none(own: Workspace) -> None:
    """As with an imported head, which has neither features nor neighbours."""
    current = own.last_run()
    keys = {n: k for n, k in current["keys"].items() if n not in {"features", "neighbors"}}
    own.update_last_run(keys=keys, neighbors={})
    explorer = Explorer(own)
    explorer.searching.start()
    told = until(explorer, "none")
    explorer.searching.stop()
    assert "no stored features" in told["sentence"]
    assert not told["searchable"]


def test_it_ends_before_it_began(own: Workspace) -> None:
    explorer = Explorer(own)
    explorer.searching.start()
    explorer.searching.stop()
    assert not explorer.searching.thread.is_alive()
