"""The files of the deployment, without running them: they parse, agree, and hide nothing."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.deployment import OPTIONS

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DOCKERFILES = ("Dockerfile", "Dockerfile.gpu")
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
        given = r"(?i)(password|secret_access_key|token)[\"']?\s*[:=]\s*[\"']?[\w/+]{8,}"
        assert path.suffix == ".py" or not re.search(given, path.read_text())


class TestDeployments:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())

    @pytest.fixture(params=document["deployments"], ids=lambda one: one["name"])
    def deployment(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    def test_schedules_are_off(self, deployment: Any) -> None:
        assert not any(schedule["active"] for schedule in deployment.get("schedules", []))

    def test_placeholders_stand_for_what_the_file_says(self, deployment: Any) -> None:
        known = {f"file.{name}" for name in (*OPTIONS, "options", "workspace", "cron", "timezone")}
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


def test_credentials_come_from_secrets() -> None:
    docker = template("work-pool-docker.json")["variables"]["properties"]["env"]["default"]
    assert all(value.startswith("{{ prefect.blocks.secret.") for value in docker.values())
    job = template("work-pool-kubernetes.json")["job_configuration"]["job_manifest"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"][0]["secretRef"]["name"] == "{{ credentials_secret }}"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"


@pytest.mark.parametrize("name", DOCKERFILES)
class TestImages:
    def test_does_not_run_as_root(self, name: str) -> None:
        users = re.findall(r"^USER (\S+)", (INFRA / "docker" / name).read_text(), re.M)
        assert users
        assert users[-1] not in {"root", "0"}

    def test_versions_are_pinned(self, name: str) -> None:
        text = (INFRA / "docker" / name).read_text()
        for line in re.findall(r"pip install ([^\n]*)", text):
            assert "--constraint constraints.txt" in line or "--no-deps" in line

    def test_code_comes_after_libraries(self, name: str) -> None:
        text = (INFRA / "docker" / name).read_text()
        assert text.index("torch torchvision") < text.index("requirements.txt")
        assert text.index("requirements.txt") < text.index("COPY flows")

    def test_every_package_is_copied(self, name: str) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        rooms = {p.split(".")[0] for p in project["tool"]["setuptools"]["packages"]}
        copied = set(re.findall(r"^COPY (\w+) \w+$", (INFRA / "docker" / name).read_text(), re.M))
        allowed = (ROOT / ".dockerignore").read_text().split()
        assert rooms == copied
        assert all(f"!{room}" in allowed for room in rooms)

    def test_both_images_differ_in_little(self, name: str) -> None:
        cpu, gpu = ((INFRA / "docker" / n).read_text().splitlines() for n in DOCKERFILES)
        instructions = [
            {line for line in lines if line and not line.startswith("#")} for lines in (cpu, gpu)
        ]
        assert len(instructions[0] ^ instructions[1]) <= 4


def test_the_cluster_announces_its_gpus() -> None:
    documents = list(yaml.safe_load_all((INFRA / "kubernetes" / "dask.yaml").read_text()))
    deployments = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Deployment"}
    workers = {name: d["spec"]["template"]["spec"] for name, d in deployments.items()}
    assert "GPU=1" in workers["stego-dask-gpu"]["containers"][0]["args"]
    assert "GPU=1" not in workers["stego-dask-cpu"]["containers"][0]["args"]
    for pod in workers.values():
        assert pod["securityContext"]["runAsNonRoot"]
