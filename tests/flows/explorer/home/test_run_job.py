"""The process of a run, as its server sees it."""

import time

import pytest
from home_client import Script

from flows.explorer.home.run_job import Run, RunJob, StageShown
from flows.explorer.home.run_request import Order, RunRequest, Setup
from stego_core.errors import BusyError

EVENT = {"title": "head", "done": 40, "total": 100, "unit": "steps", "finished": False, "note": "",
         "stage": "a"}  # fmt: skip


def order() -> Order:
    return Setup("/ws").order(RunRequest(images="/photos"))


def test_time_left_counts_this_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """40 of 100 steps were done before; 30 took 60 s, so 30 more take as long."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = Run()
    run.take({"stage": EVENT})
    run.stages["a"].begun = now[0]
    (stage,) = run.document()["stages"]
    assert (stage["done"], stage["left"]) == (40, None)
    now[0] += 60
    run.take({"stage": {**EVENT, "done": 70, "note": "loss 0.1"}})
    (stage,) = run.document()["stages"]
    assert (stage["left"], stage["seconds"], stage["note"]) == (60.0, 60.0, "loss 0.1")
    run.take({"stage": {**EVENT, "done": 100, "finished": True}})
    now[0] += 99
    run.take({"stage": EVENT})  # of a worker, late
    (stage,) = run.document()["stages"]
    assert (stage["finished"], stage["left"]) == (True, None)


def test_stages_of_one_title_are_two() -> None:
    run = Run()
    for stage in ("a", "b"):
        run.take({"stage": {**EVENT, "stage": stage}})
    assert len(run.document()["stages"]) == 2
    assert isinstance(run.stages["a"], StageShown)


def test_one_at_a_time_and_it_ends_with_the_server(script: Script) -> None:
    ended: list[bool] = []
    job = RunJob(ended.append)
    script("sys.stdin.read(); sys.exit(130)")
    job.begin(order())
    with pytest.raises(BusyError, match="under way"):
        job.begin(order())
    job.close()
    assert job.process is not None
    assert job.process.poll() is not None
    assert (job.run.state, ended) == ("stopped", [False])
    job.stop()  # nothing to stop
    job.close()


def test_one_that_does_not_end_is_killed(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.explorer.home.run_job.END_SECONDS", 0.2)
    script("time.sleep(1000)")
    job = RunJob(lambda well: None)
    job.begin(order())
    job.close()
    assert job.process is not None
    assert job.process.wait(10) == -9


def test_the_last_sentences_are_kept() -> None:
    run = Run()
    for number in range(60):
        run.take({"said": str(number)})
    assert run.said == [str(number) for number in range(10, 60)]
