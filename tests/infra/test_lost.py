"""Which runs count as lost, for workers and processes of this machine and of others."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "infra" / "prefect"))
from lost import Machine, is_forgotten

LIVE, DEAD, ELSEWHERE, AWAY = "here-2", "here-1", "there-7", "there-3"


def machine(online: set[str], alone: bool = False) -> Machine:
    """A machine called `here`, with one process: that of the run `alive`."""
    made = Machine.__new__(Machine)
    made.host, made.runs, made.hidden, made.workers = "here", {"alive"}, {77}, {LIVE}
    made.online, made.alone = online, alone
    return made


def run(
    state: str, worker: str | None, name: str = "lost", age: float = 600, pid: str | None = None
) -> dict[str, Any]:
    labels = {"prefect.worker.name": worker} if worker else {}
    moment = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    details = {"type": state, "timestamp": moment}
    return {"id": name, "labels": labels, "state": details, "infrastructure_pid": pid}


BOTH = {LIVE, ELSEWHERE}


class TestVerdict:
    @pytest.mark.parametrize("state", ["RUNNING", "CANCELLING"])
    def test_its_worker_and_process_are_gone(self, state: str) -> None:
        found = machine(BOTH).verdict(run(state, DEAD))
        assert found is not None
        assert found["type"] == "CRASHED"

    @pytest.mark.parametrize("worker", [DEAD, AWAY, None])
    def test_claimed_and_never_started(self, worker: str | None) -> None:
        found = machine(BOTH).verdict(run("PENDING", worker))
        assert found is not None
        assert found["type"] == "SCHEDULED"

    def test_claimed_a_moment_ago_with_no_worker_left(self) -> None:
        assert machine(set()).verdict(run("PENDING", None, age=1))

    @pytest.mark.parametrize(
        "one",
        [
            partial(run, "RUNNING", DEAD, name="alive"),  # its worker was killed, it goes on
            partial(run, "PENDING", DEAD, name="alive"),  # it is starting
            partial(run, "RUNNING", LIVE),  # its worker will tell
            partial(run, "PENDING", ELSEWHERE),
            partial(run, "PENDING", None, age=1),  # its worker is about to tell its name
            partial(run, "RUNNING", AWAY),  # its heartbeat tells
            partial(run, "RUNNING", None),  # nobody knows where
            partial(run, "RUNNING", DEAD, pid="77"),  # a process of another user
        ],
    )
    def test_may_live(self, one: Callable[[], dict[str, Any]]) -> None:
        assert machine(BOTH).verdict(one()) is None

    def test_nobody_says_where_and_there_is_one_machine_only(self) -> None:
        assert machine({LIVE}, alone=True).verdict(run("RUNNING", None))


def test_processes_of_this_machine_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    import lost

    monkeypatch.setattr(lost, "call", lambda *asked: [])
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "--name", "here-9"],
        env={"PREFECT__FLOW_RUN_ID": "mine"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        found = Machine("url", "pool")
        process.communicate()
    assert "mine" in found.runs
    assert "here-9" in found.workers
    assert "mine" not in Machine("url", "pool").runs


@pytest.mark.parametrize(
    ("state", "age", "over"),
    [
        ("CRASHED", 0, True),
        ("SCHEDULED", 0, True),  # it is tried again
        ("COMPLETED", 0, False),  # the server may not have heard of its tasks' ends
        ("COMPLETED", 600, True),
        ("FAILED", 600, True),
        ("RUNNING", 600, False),
        ("PAUSED", 600, False),
    ],
)
def test_when_nothing_inside_a_run_is_under_way(state: str, age: float, over: bool) -> None:
    from lost import ended

    assert ended(run(state, None, age=age)) == over


def ended(age: float, count: int = 1) -> dict[str, Any]:
    return {**run("CRASHED", DEAD, age=age), "run_count": count}


class TestForgotten:
    """Runs whose end no automation heard of: it waits for 60 s, three times at most."""

    @staticmethod
    def automation(age: float = 10**6) -> dict[str, Any]:
        made = run("", None, age=age)["state"]["timestamp"]
        trigger = {"within": 60, "match": {"prefect.run-count": ["1", "2", "3"]}}
        return {"created": made, "trigger": trigger}

    @pytest.mark.parametrize("count", [1, 3])
    def test_the_automation_is_late(self, count: int) -> None:
        assert is_forgotten(ended(100, count), self.automation())

    @pytest.mark.parametrize(
        ("age", "count", "created"),
        [
            (80, 1, 10**6),  # the automation may still act
            (100, 4, 10**6),  # often enough
            (100, 0, 10**6),  # never begun: its code or image is missing
            (90_000, 1, 10**6),  # history
            (100, 1, 50),  # from before there was an automation
        ],
    )
    def test_left_alone(self, age: float, count: int, created: float) -> None:
        assert not is_forgotten(ended(age, count), self.automation(created))
