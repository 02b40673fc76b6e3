"""The files of the deployment, without running them: they parse, agree, and hide nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.runs.deployment_file import FIRST, OPTIONS

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TEMPLATES = ("work-pool-docker.json", "work-pool-kubernetes.json")
WRITTEN = ("*.py", "*.json", "*.yaml", "Dockerfile*")
PLACEHOLDER = re.compile(r"{{\s*([\w.-]+)\s*}}")


def texts() -> list[Path]:
    found = {path for ending in WRITTEN for path in INFRA.glob(f"*/{ending}")}
    return [
        *sorted(found),
        INFRA / "README.md",
        INFRA / "deployment.toml",
        ROOT / "prefect.yaml",
        ROOT / ".dockerignore",
    ]


def template(name: str) -> Any:
    return json.loads((INFRA / "prefect" / name).read_text())


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
class TestEveryFile:
    def test_names_no_host_but_this_machine(self, path: Path) -> None:
        hosts = re.findall(r"://(?:[^/\s@]+@)?([\w-]+(?:\.[\w-]+)+)", path.read_text())
        assert set(hosts) <= {"127.0.0.1"}

    def test_holds_no_secret(self, path: Path) -> None:
        given = r"(?i)(password|secret_access_key|token)[\"']?[ \t]*[:=][ \t]*[\"']?[\w/+]{8,}"
        assert path.suffix == ".py" or not re.search(given, path.read_text())


class TestDeployments:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())

    @pytest.fixture(params=document["deployments"], ids=lambda one: one["name"])
    def deployment(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    def test_schedules_are_off(self, deployment: Any) -> None:
        assert not any(schedule["active"] for schedule in deployment.get("schedules", []))

    def test_placeholders_stand_for_what_the_file_says(self, deployment: Any) -> None:
        own = ("options", "workspace", "cron", "timezone")
        known = {f"file.{name}" for name in (*OPTIONS, *FIRST, *own)}
        given = json.dumps([deployment["parameters"], deployment.get("schedules", [])])
        assert set(PLACEHOLDER.findall(given)) <= known

    def test_entry_points_name_modules(self, deployment: Any) -> None:
        module, _, function = deployment["entrypoint"].rpartition(".")
        source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
        assert f"\ndef {function}(" in source

    def test_no_secret_in_the_environment(self, deployment: Any) -> None:
        names = deployment["work_pool"]["job_variables"]["env"]
        assert not [name for name in names if re.search("KEY|SECRET|PASSWORD|TOKEN$", name)]


@pytest.mark.parametrize("name", TEMPLATES)
class TestTemplates:
    def test_every_placeholder_is_a_variable(self, name: str) -> None:
        found = template(name)
        used = set(PLACEHOLDER.findall(json.dumps(found["job_configuration"])))
        assert used == set(found["variables"]["properties"])

    def test_defaults_fit_their_type(self, name: str) -> None:
        types = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
        for key, variable in template(name)["variables"]["properties"].items():
            if "default" in variable:
                assert isinstance(variable["default"], types[variable["type"]]), key

    def test_the_image_is_ours(self, name: str) -> None:
        assert template(name)["variables"]["properties"]["image"]["default"] == "stego-flows:cpu"


def test_credentials_of_jobs_come_from_a_secret() -> None:
    job = template("work-pool-kubernetes.json")["job_configuration"]["job_manifest"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"][0]["secretRef"]["name"] == "{{ credentials_secret }}"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"
