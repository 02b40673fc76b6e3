"""The deployment as a person sets it up: server, worker, deploy, a run, a drift, a kill."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.infra.postgresql import PASSWORD, free_port
from tests.infra.setup import ROOT, Setup, eventually, started

DEPLOYMENTS = (
    "pipeline/full",
    "backfill/nightly",
    "retrain/on-drift",
    "pretraining/backbone",
)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.long) for name in ("sqlite", "postgresql")],
)
def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    with started(tmp_path_factory.mktemp(request.param), request.param) as made:
        yield made


def deployment(setup: Setup, name: str) -> Any:
    return setup.api(f"/deployments/name/{name}")


@pytest.mark.timeout(1200)
class TestDeployed:
    def test_says_where_it_is(self, setup: Setup) -> None:
        assert f"export PREFECT_API_URL={setup.url}" in setup.said
        for name in DEPLOYMENTS:
            assert f"{name}: created; workspace {setup.workspace}" in setup.said

    def test_listens_on_loopback_only(self, setup: Setup) -> None:
        lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        listening = [line.split()[1] for line in lines.splitlines() if " 0A " in line]
        hosts = {at.split(":")[0] for at in listening if int(at.split(":")[-1], 16) == setup.port}
        assert hosts == {"0100007F"}  # 127.0.0.1

    @pytest.mark.parametrize("name", DEPLOYMENTS)
    def test_one_at_a_time_on_the_pool(self, setup: Setup, name: str) -> None:
        found = deployment(setup, name)
        assert found["work_pool_name"] == "stego"
        assert found["global_concurrency_limit"]["limit"] == 1
        assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert found["enforce_parameter_schema"]
        assert found["parameters"]["workspace"] == setup.workspace
        assert "stego" in found["tags"]
        assert len(found["description"]) > 60
        (step,) = found["pull_steps"]
        assert step["prefect.deployments.steps.set_working_directory"]["directory"] == str(ROOT)

    def test_places_come_from_the_file(self, setup: Setup) -> None:
        images = deployment(setup, "pipeline/full")["parameters"]["images"]
        inbox = deployment(setup, "backfill/nightly")["parameters"]["inbox"]["inbox"]
        assert (images, inbox) == (f"{setup.folder}/images", f"{setup.folder}/inbox")

    def test_the_schedule_is_off(self, setup: Setup) -> None:
        (schedule,) = deployment(setup, "backfill/nightly")["schedules"]
        assert not schedule["active"]
        assert schedule["slug"] == "nightly"
        assert schedule["schedule"]["cron"] == "0 2 * * *"
        assert schedule["schedule"]["timezone"] == "UTC"
        assert deployment(setup, "retrain/on-drift")["schedules"] == []

    def test_gpu_work_is_limited(self, setup: Setup) -> None:
        assert setup.api("/v2/concurrency_limits/gpu")["limit"] == 1

    @pytest.mark.parametrize("kind", ["docker", "kubernetes"])
    def test_other_pools_are_accepted(self, setup: Setup, kind: str) -> None:
        template = (ROOT / "infra" / "prefect" / f"work-pool-{kind}.json").read_text()
        pool = {"name": kind, "type": kind, "base_job_template": json.loads(template)}
        assert setup.api("/work_pools/", pool)["type"] == kind

    def test_the_password_is_nowhere(self, setup: Setup) -> None:
        if setup.database == "sqlite":
            pytest.skip("SQLite has no password")
        command = Path(f"/proc/{setup.pid('server')}/cmdline").read_text()
        kept = [p.read_text() for p in (setup.folder / "services" / "prefect").glob("*.*")]
        note = (setup.folder / "services" / "prefect" / "database").read_text()
        assert PASSWORD not in "".join([setup.said, command, note, *kept])
        assert "***" in note


def later(setup: Setup, name: str) -> str:
    """A run that no worker takes; its id."""
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
    place = f"/deployments/{deployment(setup, name)['id']}/create_flow_run"
    return str(setup.api(place, {"state": state})["id"])


def enter(setup: Setup, place: str, state: str) -> None:
    """Set a run's state as Prefect's engine would."""
    setup.api(f"{place}/set_state", {"state": {"type": state}, "force": True})


def settled(setup: Setup) -> dict[str, Any]:
    """The nightly deployment but for what its worker changes."""
    found = deployment(setup, "backfill/nightly")
    return {k: v for k, v in found.items() if k not in ("last_polled", "status", "updated")}


def nightly_schedules(setup: Setup) -> dict[str, Any]:
    return {one["slug"]: one for one in deployment(setup, "backfill/nightly")["schedules"]}


@pytest.mark.timeout(1200)
class TestDeployAgain:
    def test_a_refused_file_changes_nothing(self, setup: Setup) -> None:
        before = settled(setup)
        setup.write(workspace="/other", more="[features]\nlayr = 3")
        result = setup.services("deploy")
        setup.write()
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
        assert "features.layr is not known" in result.stderr
        assert settled(setup) == before

    @pytest.fixture
    def undone(self, setup: Setup) -> Iterator[None]:
        """Let what follows find the deployment and the automation at work."""
        yield
        setup.write()
        place = f"/deployments/{deployment(setup, 'backfill/nightly')['id']}"
        edits = {"paused": False, "concurrency_limit": 1, "work_queue_name": "default"}
        setup.api(place, {**edits, "work_pool_name": "stego"}, "PATCH")
        (drift,) = (
            one for one in setup.api("/automations/filter", {}) if one["name"] == "retrain on drift"
        )
        setup.api(f"/automations/{drift['id']}", {"enabled": True}, "PATCH")

    @pytest.mark.usefixtures("undone")
    def test_what_a_person_set_stays(self, setup: Setup) -> None:
        nightly = deployment(setup, "backfill/nightly")
        place = f"/deployments/{nightly['id']}"
        mine = nightly_schedules(setup)["nightly"]
        cron = {"cron": "30 3 * * *", "timezone": "Europe/Berlin"}
        setup.api(f"{place}/schedules/{mine['id']}", {"schedule": cron, "active": True}, "PATCH")
        weekly = {"schedule": {"cron": "0 5 * * 0"}, "active": False, "slug": "weekly"}
        setup.api(f"{place}/schedules", [weekly])
        edits = {
            "tags": ["stego", "nightly", "mine"],
            "concurrency_limit": 3,
            "parameters": {**nightly["parameters"], "dump": None},
            "job_variables": {"env": {**nightly["job_variables"]["env"], "MINE": "1"}},
            "work_queue_name": "night",
            "work_pool_name": "stego",
            "paused": True,
        }
        setup.api(place, edits, "PATCH")
        held = setup.api("/automations/filter", {})
        there = {one["name"]: one for one in held}
        off = there["retrain on drift"]["id"]
        setup.api(f"/automations/{off}", {"enabled": False}, "PATCH")
        setup.api(f"/automations/{there['a run failed']['id']}", method="DELETE")
        edited = {**there["a run never started"], "description": "mine"}
        keys = ("name", "description", "enabled", "trigger", "actions")
        body = {key: edited[key] for key in keys}
        setup.api(f"/automations/{edited['id']}", body, "PUT")
        before = deployment(setup, "backfill/nightly"), nightly_schedules(setup)

        setup.write(workspace=f"{setup.workspace}2")
        said = setup.good("deploy")
        setup.write()
        assert f"backfill/nightly: workspace {setup.workspace} → {setup.workspace}2;" in said
        assert "schedule weekly (0 5 * * 0, off) is yours" in said
        assert "kept, as set on the server: schedule nightly cron 30 3 * * *" in said
        assert "kept, as set on the server: concurrency_limit 3 (the file: 1)" in said
        assert "'a run failed': was deleted by hand" in said
        after = deployment(setup, "backfill/nightly")
        assert after["parameters"]["workspace"] == f"{setup.workspace}2"
        same = ("tags", "paused", "job_variables", "work_queue_name", "description")
        assert {key: after[key] for key in same} == {key: before[0][key] for key in same}
        assert after["global_concurrency_limit"]["limit"] == 3
        assert nightly_schedules(setup) == before[1]
        names = {one["name"]: one for one in setup.api("/automations/filter", {})}
        assert not names["retrain on drift"]["enabled"]
        assert names["a run never started"]["description"] == "mine"
        assert "a run failed" not in names

        said = setup.good("deploy")
        assert f"backfill/nightly: workspace {setup.workspace}2 → {setup.workspace};" in said


@pytest.mark.timeout(1200)
class TestRuns:
    def test_everything_goes_on_after_a_kill(self, setup: Setup) -> None:
        os.kill(setup.pid("server"), signal.SIGKILL)
        assert "export" in setup.good("server")
        assert deployment(setup, "backfill/nightly")["name"] == "nightly"
        status = setup.good("status")
        assert "not running" not in status

    def test_an_empty_inbox_completes(self, setup: Setup) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "prefect", "deployment", "run", "backfill/nightly", "--watch"],
            env={**setup.environment, "PREFECT_API_URL": setup.url},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Completed" in result.stdout
        # Our own lines are there, beside Prefect's.
        lines = setup.api("/logs/filter", {})
        assert [line for line in lines if line["name"].startswith(("flows", "tasks"))]

    def test_a_run_whose_process_is_gone_is_closed_with_its_children(self, setup: Setup) -> None:
        ended = subprocess.Popen(["true"])
        ended.wait()
        run = later(setup, "pipeline/full")
        worker = {"prefect.worker.name": f"{socket.gethostname()}-1"}
        setup.api(f"/flow_runs/{run}/labels", worker, "PATCH")
        setup.api(f"/flow_runs/{run}", {"infrastructure_pid": str(ended.pid)}, "PATCH")
        enter(setup, f"/flow_runs/{run}", "RUNNING")
        task = setup.api("/task_runs/", {"flow_run_id": run, "task_key": "t", "dynamic_key": "0"})
        enter(setup, f"/task_runs/{task['id']}", "RUNNING")
        flow = setup.api("/flows/", {"name": "features"})["id"]
        child = {"flow_id": flow, "parent_task_run_id": task["id"]}
        child = setup.api("/flow_runs/", child)["id"]
        enter(setup, f"/flow_runs/{child}", "RUNNING")
        setup.good("worker")  # or the one that runs already, a moment before
        states = setup.api(f"/flow_run_states/?flow_run_id={run}")
        (crash,) = [one for one in states if one["type"] == "CRASHED"]
        assert "Its process is gone" in crash["message"]
        assert setup.api(f"/flow_runs/{child}")["state"]["type"] == "CRASHED"
        assert setup.api(f"/task_runs/{task['id']}")["state"]["type"] == "CRASHED"
        limit = deployment(setup, "pipeline/full")["global_concurrency_limit"]
        assert limit["active_slots"] == 0
        setup.api(f"/flow_runs/{run}", method="DELETE")

    def test_a_run_of_another_machine_is_left_to_its_heartbeat(self, setup: Setup) -> None:
        run = later(setup, "pipeline/full")
        setup.api(f"/flow_runs/{run}/labels", {"prefect.worker.name": "elsewhere-1"}, "PATCH")
        enter(setup, f"/flow_runs/{run}", "RUNNING")
        setup.good("worker")
        assert setup.api(f"/flow_runs/{run}")["state"]["type"] == "RUNNING"
        setup.api(f"/flow_runs/{run}", method="DELETE")

    def test_a_schedule_that_is_switched_on_starts_runs(self, setup: Setup) -> None:
        nightly = deployment(setup, "backfill/nightly")
        often = {"schedule": {"interval": 10}, "active": True}
        place = f"/deployments/{nightly['id']}/schedules"
        (schedule,) = setup.api(place, [often])
        chosen = {"deployment_id": {"any_": [nightly["id"]]}, "state": {"type": {}}}
        chosen["state"]["type"]["any_"] = ["COMPLETED"]

        def fired() -> bool:
            runs = setup.api("/flow_runs/filter", {"flow_runs": chosen})
            return any(run["auto_scheduled"] for run in runs)

        eventually(fired)
        setup.api(f"{place}/{schedule['id']}", method="DELETE")

    def test_a_drift_starts_a_retrain_of_its_workspace(self, setup: Setup) -> None:
        os.kill(setup.pid("worker"), signal.SIGTERM)  # the run need only be created
        drifted = f"{setup.workspace}-drifted"
        event = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "stego.drift",
            "resource": {"prefect.resource.id": f"stego.workspace.{drifted}"},
            "payload": {"workspace": drifted, "dump": "night", "drift": {}, "threshold": {}},
        }
        setup.api("/events", [event])
        retrain = deployment(setup, "retrain/on-drift")["id"]
        runs = {"flow_runs": {"deployment_id": {"any_": [retrain]}}}
        (run,) = eventually(lambda: setup.api("/flow_runs/filter", runs))
        assert run["parameters"]["workspace"] == drifted


def test_the_services_of_the_server_log_no_error(setup: Setup) -> None:
    """The last of those that use the server: by now each service has looped many times."""
    log = setup.folder / "services" / "prefect" / "server.log"
    lines = log.read_text().splitlines()
    assert sum("Scheduling perpetual service" in line for line in lines) >= 12
    assert any(re.search("Scheduled [1-9]", line) for line in lines)  # the scheduler works
    records = re.split(r"\n(?=\d\d:\d\d:\d\d\.\d+ \|)", log.read_text())
    errors = [record for record in records if re.match(r"\S+ \| (ERROR|CRITICAL) ", record)]
    # On SQLite a writer may meet another's lock; Prefect tries again. PostgreSQL has no such thing.
    met = "database is locked" if setup.database == "sqlite" else "nothing"
    assert [record for record in errors if met not in record] == []


@pytest.fixture
def alone(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


class TestMistakes:
    @pytest.mark.parametrize("command", ["worker", "deploy"])
    def test_no_server(self, alone: Setup, command: str) -> None:
        result = alone.services(command)
        assert result.returncode == 2
        assert result.stderr == (
            f"error: no Prefect server answers at {alone.url}; start one with: make server\n"
        )

    def test_the_port_is_taken(self, alone: Setup) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", alone.port))
            other.listen()
            result = alone.services("server")
        assert result.returncode == 2
        assert f"port {alone.port} is taken by another program" in result.stderr

    def test_the_port_is_no_number(self, alone: Setup) -> None:
        assert "PORT is 'web'" in alone.services("server", PORT="web").stderr

    def test_no_database_answers(self, alone: Setup) -> None:
        url = f"postgresql+asyncpg://me:{PASSWORD}@127.0.0.1:{free_port()}/prefect"
        result = alone.services("server", DATABASE=url)
        assert result.returncode == 2
        assert f"no database answers at 127.0.0.1:{urlsplit(url).port}" in result.stderr
        assert PASSWORD not in result.stderr

    def test_a_database_of_another_kind(self, alone: Setup) -> None:
        result = alone.services("server", DATABASE="mysql://host/prefect")
        assert result.returncode == 2
        assert "expected postgresql+asyncpg://" in result.stderr

    def test_a_forgotten_password(self, alone: Setup) -> None:
        note = alone.folder / "services" / "prefect" / "database"
        note.parent.mkdir(parents=True)
        note.write_text("postgresql+asyncpg://me:***@127.0.0.1/prefect")
        result = alone.services("server", DATABASE="")
        assert result.returncode == 2
        assert "give DATABASE again" in result.stderr

    def test_a_variable_that_is_read_no_more(self, alone: Setup) -> None:
        result = alone.services("deploy", STEGO_WORKSPACE="ws", PREFECT_API_URL="")
        assert result.returncode == 2

    def test_nothing_to_stop(self, alone: Setup) -> None:
        assert alone.good("stop").count("was not running") == 2
        assert alone.good("status").count("not running") == 2
