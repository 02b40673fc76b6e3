"""Server and worker as a person starts them, for the tests of deployment and supervision."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.infra.postgresql import free_port, postgresql

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "infra" / "prefect" / "services.py"
sys.path.insert(0, str(SCRIPT.parent))
from prefect_api import call  # noqa: E402

PATIENCE_SECONDS = 400
"""More than two requests that meet a locked database take."""


class Setup:
    """Server and worker with a port, a state folder and a Prefect home of their own."""

    def __init__(self, folder: Path, database: str = "sqlite") -> None:
        self.folder, self.port, self.database = folder, free_port(), database
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.said = ""
        self.workspace = str(folder / "workspace")
        self.file = folder / "deployment.toml"
        self.write()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "STEGO_"))}
        self.environment = {
            **kept,
            "PORT": str(self.port),
            "DATABASE": database,
            "STEGO_SERVICES": str(folder / "services"),
            "STEGO_DEPLOYMENT": str(self.file),
            "PREFECT_SERVER_LOGGING_LEVEL": "INFO",
        }

    def write(self, workspace: str | None = None, more: str = "", cron: str = "0 2 * * *") -> None:
        """The file that `make deploy` reads."""
        self.file.write_text(
            f"""
            workspace = "{workspace or self.workspace}"
            [corpus]
            images = "{self.folder}/images"
            [inbox]
            inbox = "{self.folder}/inbox"
            [schedule]
            cron = "{cron}"
            [retries]
            delay_seconds = 10
            lost_seconds = 120
            {more}
            """
        )

    def services(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments],
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
            [sys.executable, SCRIPT, command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        return call(self.url, path, body, method)

    def pid(self, name: str) -> int:
        text = (self.folder / "services" / "prefect" / f"{name}.pid").read_text()
        return int(json.loads(text)["pid"])


def eventually(check: Callable[[], Any]) -> Any:
    """What the check finds, once it finds something; a busy machine gets its time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def at_work(setup: Setup, name: str, flow: str, function: str) -> str:
    """A deployment of a flow of tests/infra/runs.py on the pool, one run at a time; its id."""
    ours = setup.api("/deployments/name/backfill/nightly")
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
    given = {
        "name": name,
        "flow_id": setup.api("/flows/", {"name": flow})["id"],
        "entrypoint": f"tests/infra/runs.py:{function}",
        "pull_steps": [step],
        "work_pool_name": "stego",
        "concurrency_limit": 1,
        "concurrency_options": {"collision_strategy": "ENQUEUE"},
        "job_variables": ours["job_variables"],
    }
    return str(setup.api("/deployments/", given)["id"])


@contextmanager
def started(folder: Path, database: str = "sqlite", **environment: str) -> Iterator[Setup]:
    """`make server`, `make worker`, `make deploy` in this environment; then `make stop`."""
    with ExitStack() as stack:
        place = stack.enter_context(postgresql()) if database == "postgresql" else database
        made = Setup(folder, place)
        made.environment.update(environment)
        stack.callback(made.services, "stop")
        made.said = made.good("server")
        both = [made.start("worker"), made.start("deploy")]
        said = [process.communicate()[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        made.said += "".join(said)
        yield made
