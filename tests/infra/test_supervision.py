"""Kills and outages: with a worker back, or without anybody, the night's run completes."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.infra.setup import PATIENCE_SECONDS, Setup, at_work, eventually, started

pytestmark = [pytest.mark.long, pytest.mark.timeout(3 * PATIENCE_SECONDS)]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with started(tmp_path_factory.mktemp("supervision")) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a run notes its starts and ends, and waits for the file `go`."""
    return tmp_path


@pytest.fixture
def start(setup: Setup) -> Callable[..., str]:
    return partial(begin, setup)


def begin(
    setup: Setup, function: str = "long_run", flow: str = "backfill", **parameters: Any
) -> str:
    where = f"/deployments/{at_work(setup, function, flow, function)}/create_flow_run"
    body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
    return str(setup.api(where, body)["id"])


def state(setup: Setup, run: str) -> str:
    return str(setup.api(f"/flow_runs/{run}")["state"]["name"])


def states(setup: Setup, run: str) -> list[str]:
    return [one["name"] for one in setup.api(f"/flow_run_states/?flow_run_id={run}")]


def noted(place: Path, name: str) -> list[int]:
    file = place / name
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def worker(setup: Setup) -> psutil.Process:
    """Prefect's own worker, which the process of `make worker` keeps."""
    (found,) = psutil.Process(setup.pid("worker")).children()
    return found


def completed(setup: Setup, *runs: str) -> None:
    eventually(lambda: all(state(setup, run) == "Completed" for run in runs))


def kill_all(setup: Setup, run: str) -> None:
    """What a power cut does: the keeper, the worker and every process of the run."""
    keeper = psutil.Process(setup.pid("worker"))
    lost = [keeper, *keeper.children()]
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run:
                lost.append(process)
        except psutil.Error:
            continue
    for process in lost:
        process.kill()
    psutil.wait_procs(lost, 10)


def nothing_is_left(setup: Setup) -> None:
    """No flow or task run counts as under way, and no slot is held."""
    under_way = {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
    eventually(lambda: not setup.api("/flow_runs/filter", {"flow_runs": under_way}))
    eventually(lambda: not setup.api("/task_runs/filter", {"task_runs": under_way}))
    limits = [one["global_concurrency_limit"] for one in setup.api("/deployments/filter", {})]
    assert not [limit for limit in limits if limit and limit["active_slots"]]


def test_the_worker_alone_is_killed(setup: Setup, start: Any, place: Path) -> None:
    run = start(folder=str(place))
    eventually(lambda: noted(place, "starts"))
    before = worker(setup)
    before.kill()
    eventually(lambda: psutil.Process(setup.pid("worker")).children() not in ([], [before]))
    assert state(setup, run) == "Running"
    (place / "go").touch()
    completed(setup, run)
    assert len(noted(place, "starts")) == len(noted(place, "ends")) == 1
    assert "Crashed" not in states(setup, run)
    next_night = start(folder=str(place))
    completed(setup, next_night)  # by the new worker
    nothing_is_left(setup)


def test_worker_and_run_are_killed(setup: Setup, start: Any, place: Path) -> None:
    run = start(folder=str(place))
    eventually(lambda: noted(place, "starts"))
    kill_all(setup, run)
    (place / "go").touch()
    setup.good("worker")
    completed(setup, run)
    assert "Crashed" in states(setup, run)
    assert (len(noted(place, "starts")), len(noted(place, "ends"))) == (2, 1)
    nothing_is_left(setup)


def test_killed_between_claim_and_start(setup: Setup, start: Any, place: Path) -> None:
    (place / "go").touch()
    run = start(folder=str(place))
    eventually(lambda: state(setup, run) in ("Pending", "Submitting"))
    kill_all(setup, run)
    assert state(setup, run) in ("Pending", "Submitting")
    tonight = start(folder=str(place))
    setup.good("worker")
    completed(setup, run, tonight)
    assert len(noted(place, "ends")) == 2
    nothing_is_left(setup)


def test_the_process_of_a_run_is_killed(setup: Setup, start: Any, place: Path) -> None:
    run = start(folder=str(place))
    (pid,) = eventually(lambda: noted(place, "starts"))
    os.kill(pid, signal.SIGKILL)
    (place / "go").touch()
    completed(setup, run)
    assert len(noted(place, "ends")) == 1


def test_an_outage_is_tried_again_and_a_mistake_is_not(
    setup: Setup, start: Any, tmp_path: Path
) -> None:
    away, wrong = tmp_path / "away", tmp_path / "wrong"
    away.mkdir()
    wrong.mkdir()
    mistake = start("failing", "pipeline", folder=str(wrong), mistake=True)
    eventually(lambda: state(setup, mistake) == "Failed")
    outage = start("failing", "pipeline", folder=str(away), mistake=False)
    completed(setup, outage)
    assert states(setup, outage).count("Outage") == 2
    assert state(setup, mistake) == "Failed"
    assert (len(noted(away, "starts")), len(noted(wrong, "starts"))) == (3, 1)


def test_no_event_of_an_outage_arrives(tmp_path: Path) -> None:
    """As on SQLite, whose locked database makes Prefect give events up."""
    server, away = tmp_path / "server", tmp_path / "away"
    server.mkdir()
    away.mkdir()
    with started(server, PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED="false") as setup:
        outage = begin(setup, "failing", "pipeline", folder=str(away), mistake=False)
        completed(setup, outage)
        assert states(setup, outage).count("Outage") == 2
        log = setup.folder / "services" / "prefect" / "worker.log"
        assert log.read_text().count("the event of its end was lost") >= 2
    assert len(noted(away, "starts")) == 3


@pytest.fixture
def heard() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A webhook on loopback: its address, and what it was told."""
    told: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", told
        server.shutdown()


def test_somebody_is_told_that_a_run_failed(
    setup: Setup, start: Any, place: Path, heard: tuple[str, list[dict[str, str]]]
) -> None:
    address, told = heard
    setup.write(more='[notify]\nblock = "custom-webhook/team"')
    refused = setup.services("deploy")
    assert "the server has no such block" in refused.stderr
    kind = setup.api("/block_types/slug/custom-webhook")["id"]
    wanted = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    schema = setup.api("/block_schemas/filter", wanted)[0]["id"]
    body = {"subject": "{{subject}}", "body": "{{body}}"}
    data = {"name": "team", "url": address, "method": "POST", "json_data": body}
    block = {"name": "team", "block_type_id": kind, "block_schema_id": schema, "data": data}
    setup.api("/block_documents/", block)
    assert "automation 'a run failed': updated (on)" in setup.good("deploy")
    run = start("failing", "pipeline", folder=str(place), mistake=True)
    eventually(lambda: told)
    assert "Failed" in told[0]["subject"]
    assert "InputError: no such image" in told[0]["body"]
    assert run in told[0]["body"]  # a link to it


def test_nobody_is_left_to_notice(setup: Setup, start: Any, place: Path) -> None:
    """The last one: no worker runs for minutes, so that the run's heartbeat alone can tell."""
    run = start(folder=str(place))
    eventually(lambda: noted(place, "starts"))

    def beaten() -> bool:
        names = {"event": {"name": ["prefect.flow-run.heartbeat"]}}
        wanted = {**names, "resource": {"id": [f"prefect.flow-run.{run}"]}}
        return bool(setup.api("/events/filter", {"filter": wanted})["events"])

    eventually(beaten)
    kill_all(setup, run)
    eventually(lambda: "Crashed" in states(setup, run))
    (place / "go").touch()
    setup.good("worker")
    completed(setup, run)
    nothing_is_left(setup)
