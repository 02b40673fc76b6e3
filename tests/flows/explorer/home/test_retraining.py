"""Training again from the page: when it is suggested, what is asked for, how it goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from home_client import Home, Script

from flows.explorer.home import retraining
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

FIGURES = {"features": 2.41, "shares": None, "thresholds": {"features": 0.65, "shares": 0.1,
           "fewest_images": 20}, "judged": True, "drifted": True}  # fmt: skip
LIKE = {**FIGURES, "features": 0.1, "drifted": False}
TOOK = {"rows": 10, "shards": 1, "seconds": {"wall": 60.0, "shards_computed": 1}}


@pytest.fixture
def labelled(workspace: Workspace) -> Workspace:
    """Three dumps with masks, of which `night` has drifted."""
    made = Workspace.create(workspace.storage.uri)
    made.folder(layout.clusters("old")).finish({"classes": 7})
    for sequence, dump in enumerate(("day", "dusk", "night")):
        facts = {"sequence": sequence, "images_uri": f"/photos/{dump}", "images": 10}
        made.corpus(dump).finish({**facts, **TOOK})
        made.folder(layout.masks("m", dump)).finish(TOOK)
    keys = {"clusters": "old", "masks": "m"}
    made.update_last_run(keys=keys, dumps=["day"], options={},
                         drift={"dusk": LIKE, "night": FIGURES})  # fmt: skip
    return made


def test_what_has_drifted_is_told(labelled: Workspace, home: Home) -> None:
    expected = {
        "drifted": [{"dump": "night", "features": 2.41, "shares": None}],
        "thresholds": {"features": 0.65, "shares": 0.1},
        "dumps": ["day", "dusk", "night"],
        "classes": 7,
    }
    assert retraining.suggestion(labelled) == expected
    told = home.look()["retrain"]
    assert "does not say how long" in told.pop("time")
    assert told == expected


def test_nothing_is_told_where_nothing_has(workspace: Workspace, labelled: Workspace) -> None:
    labelled.update_last_run(drift={"dusk": LIKE})
    assert retraining.suggestion(labelled) is None
    assert retraining.suggestion(Workspace.at(workspace.storage.uri + "-none")) is None
    labelled.storage.write(layout.CURRENT_FILE, b"torn")
    assert retraining.suggestion(labelled) is None


def test_it_runs_is_stopped_and_goes_on(
    labelled: Workspace, home: Home, script: Script, tmp_path: Path
) -> None:
    written = f"open({str(tmp_path / 'order.json')!r}, 'w').write(json.dumps(order))"
    script("sys.stdin.read()", {"end": 130, "sentence": "interrupted"})
    run = home.post("start", kind="retrain", classes=9).json()["run"]
    assert (run["state"], run["kind"], run["dump"]) == ("running", "retrain", "")
    assert run["planned"] == [
        "features day", "features dusk", "features night",
        "neighbors day", "neighbors dusk", "neighbors night",
        "head", "codes", "k-means", "clusters", "masks day", "masks dusk", "masks night",
    ]  # fmt: skip
    assert home.look()["retrain"] is None
    home.post("stop")
    home.until("stopped")
    assert home.look()["request"]["kind"] == "retrain"
    script(written, {"end": 0, "sentence": ""})
    home.post("resume")
    home.until("done")
    assert home.look()["request"] is None
    order = json.loads((tmp_path / "order.json").read_text())
    assert (order["kind"], order["options"]["clusters"]) == ("retrain", {"classes": 9})


@pytest.mark.parametrize("body", [{"kind": "retrain", "classes": 1}, {"kind": "retrain", "k": 2}])
def test_nonsense_is_told(labelled: Workspace, home: Home, body: dict[str, Any]) -> None:
    assert home.post("start", **body).status_code == 400


def test_before_the_first_run_there_is_nothing_to_train_on(home: Home, tmp_path: Path) -> None:
    for what, code in (("start", 409), ("check", 400)):
        answer = home.post(what, kind="retrain")
        assert answer.status_code == code
        assert len(answer.json()["error"]) > 10
    assert not (tmp_path / "ws").exists()
