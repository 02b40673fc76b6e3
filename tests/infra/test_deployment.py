"""The deployment as a person sets it up: server, worker, deploy, a run, a drift, a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from tests.infra.postgresql import PASSWORD, free_port, postgresql

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "infra" / "prefect" / "services.py"
DEPLOYMENTS = (
    "pipeline/full",
    "backfill/nightly",
    "retrain/on-drift",
    "pretraining/backbone",
)


class Setup:
    """Server and worker with a port, a state folder and a Prefect home of their own."""

    def __init__(self, folder: Path, database: str = "sqlite") -> None:
        self.folder, self.port, self.database = folder, free_port(), database
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.said = ""
        self.workspace = str(folder / "workspace")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "STEGO_"))}
        self.environment = {
            **kept,
            "PORT": str(self.port),
            "DATABASE": database,
            "STEGO_SERVICES": str(folder / "services"),
            "STEGO_WORKSPACE": self.workspace,
            "STEGO_INBOX": str(folder / "inbox"),
        }

    def services(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SERVICES, *arguments],
            env={**self.environment, **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )

    def good(self, *arguments: str) -> str:
        result = self.services(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, SERVICES, command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(self.url + path, data, headers, method=method)
        with urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def pid(self, name: str) -> int:
        text = (self.folder / "services" / "prefect" / f"{name}.pid").read_text()
        return int(json.loads(text)["pid"])


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
)
def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    """Everything a person starts: `make server`, `make worker`, `make deploy`."""
    with ExitStack() as stack:
        database = "sqlite"
        if request.param == "postgresql":
            database = stack.enter_context(postgresql())
        made = Setup(tmp_path_factory.mktemp(request.param), database)
        stack.callback(made.services, "stop")
        made.said = made.good("server")
        both = [made.start("worker"), made.start("deploy")]
        said = [process.communicate()[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        made.said += "".join(said)
        yield made


def deployment(setup: Setup, name: str) -> Any:
    return setup.api(f"/deployments/name/{name}")


@pytest.mark.timeout(240)
class TestDeployed:
    def test_says_where_it_is(self, setup: Setup) -> None:
        assert f"export PREFECT_API_URL={setup.url}" in setup.said
        for name in DEPLOYMENTS:
            assert f"deployed {name}" in setup.said

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

    def test_no_place_is_empty(self, setup: Setup) -> None:
        images = deployment(setup, "pipeline/full")["parameters"]["images"]
        assert images == "demo/workspace-corpus/images"
        assert deployment(setup, "backfill/nightly")["parameters"]["inbox"]["inbox"].endswith(
            "/inbox"
        )

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


@pytest.mark.timeout(240)
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

    def test_a_run_whose_process_is_gone_is_crashed(self, setup: Setup) -> None:
        ended = subprocess.Popen(["true"])
        ended.wait()
        later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
        place = f"/deployments/{deployment(setup, 'pipeline/full')['id']}/create_flow_run"
        run = setup.api(place, {"state": later})["id"]
        setup.api(f"/flow_runs/{run}", {"infrastructure_pid": str(ended.pid)}, "PATCH")
        state = {"type": "RUNNING", "name": "Running"}
        setup.api(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
        setup.good("worker")
        found = setup.api(f"/flow_runs/{run}")["state"]
        assert found["type"] == "CRASHED"
        assert "Start the run again" in found["message"]

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

    def test_nothing_to_stop(self, alone: Setup) -> None:
        assert alone.good("stop").count("was not running") == 2
        assert alone.good("status").count("not running") == 2
