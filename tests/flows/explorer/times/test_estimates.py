"""What the page says of a run's time: tried, measured before, or not known."""

import json
import sys
import time
from typing import Any

import pytest
from home_client import RATES

from flows.explorer.home.input_check import Found
from flows.explorer.home.run_request import RETRAIN, Order, RunRequest, Setup
from flows.explorer.times import estimates
from flows.explorer.times.estimates import Estimates, summed_up
from flows.explorer.times.planned import Planned
from tasks.workspace.workspace import Workspace


def order(**asked: Any) -> Order:
    return Setup("/ws", asked.pop("sections", {})).order(RunRequest(images="/photos", **asked))


def found(**more: Any) -> Found:
    return Found("/photos", "photos", images=100, sample=["a.png"], **more)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Has a process in the place of the trial print something, and counts the trials."""
    log = tmp_path / "trials"

    def answer(text: str) -> Any:
        code = f"import sys; open({str(log)!r}, 'a').write(sys.stdin.read()); print({text!r})"
        monkeypatch.setattr(estimates, "COMMAND", (sys.executable, "-c", code))
        return lambda: len(log.read_text().splitlines()) if log.exists() else 0

    return answer


def until_known(times: Estimates) -> dict[str, Any]:
    for _ in range(600):
        document = times.document()
        if document["state"] != "measuring":
            return document
        time.sleep(0.05)
    raise AssertionError(document)


def test_a_first_run_is_tried_once(workspace: Workspace, answers: Any) -> None:
    """400 steps of 0.5 s; 100 images of 4 s, and 0.1 s for each of 16 classes."""
    trials, times = answers(json.dumps(RATES.document())), Estimates(workspace)
    assert times.document()["state"] == "none"
    times.ask(order(), found())
    told = until_known(times)
    assert told["state"] == "known"
    assert told["sentence"].startswith("It takes about 8 to 25 minutes on this machine")  # of 770 s
    assert told["parts"] == [
        ("reading", "less than a minute"), ("training", "about 2 to 6 minutes"),
        ("masks", "about 6 to 20 minutes"),
    ]  # fmt: skip
    times.ask(order(classes=30), found())
    assert until_known(times)["state"] == "known"
    planned = {stage.title: stage.seconds for stage in times.planned(order(classes=30), found())}
    assert planned["masks photos"] == pytest.approx(100 * (4 + 3))
    assert trials() == 1, "the number of classes needs no other trial"
    times.ask(order(backbone="vit_tiny_patch16_224", weights="untrained"), found())
    until_known(times)
    assert trials() == 2


def test_a_trial_that_nobody_waits_for_is_ended(
    workspace: Workspace, answers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of the order that it was of, which is tried anew when it is asked for."""
    monkeypatch.setattr(estimates, "COMMAND", (sys.executable, "-c", "import time; time.sleep(99)"))
    times = Estimates(workspace)
    times.ask(order(), found())
    while times.process is None:
        time.sleep(0.01)
    answers(json.dumps(RATES.document()))
    times.ask(order(backbone="vit_tiny_patch16_224", weights="untrained"), found())
    assert until_known(times)["state"] == "known"
    assert len(times.tried) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [('{"error": "no such backbone"}', "no such backbone"), ("torn", "failed"), ("{}", "failed")],
)
def test_a_trial_that_fails(workspace: Workspace, answers: Any, said: str, why: str) -> None:
    answers(said)
    times = Estimates(workspace)
    times.ask(order(), found())
    told = until_known(times)
    assert (told["state"], why in told["sentence"]) == ("unknown", True)
    assert {stage.seconds for stage in times.planned(order(), found())} == {None}


def test_a_trial_that_takes_too_long(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "COMMAND", (sys.executable, "-c", "import time; time.sleep(99)"))
    monkeypatch.setattr(estimates, "PATIENCE_SECONDS", 0.2)
    times = Estimates(workspace)
    times.ask(order(), found())
    assert "took too long" in until_known(times)["sentence"]
    times.close()


@pytest.mark.parametrize(
    ("asked", "given", "why"),
    [
        ({}, {"problems": ["no images"]}, "above"),
        ({}, {"videos": 1}, "frames"),
        ({"sections": {"compute": {"cluster": "tcp://other:1"}}}, {}, "other machines"),
    ],
)
def test_why_it_is_not_tried(
    workspace: Workspace, answers: Any, asked: Any, given: Any, why: str
) -> None:
    trials, times = answers("{}"), Estimates(workspace)
    times.ask(order(**asked), found(**given))
    told = times.document()
    assert (told["state"], why in told["sentence"], trials()) == ("unknown", True, 0)


def test_more_images_are_not_tried(workspace: Workspace, answers: Any) -> None:
    trials, times = answers("{}"), Estimates(workspace)
    times.ask(order(kind="backfill"), found())
    told = times.document()
    assert (told["state"], trials()) == ("unknown", 0)
    assert "does not say" in told["sentence"]


def test_what_was_measured_is_told_as_such() -> None:
    told = summed_up([Planned("head", 60.0), Planned("masks a", 600.0)], RETRAIN)
    assert "as fast as the run before" in told["sentence"]
    assert [name for name, _ in told["parts"]] == ["training", "masks"]
