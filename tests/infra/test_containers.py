"""Images, the pool of containers and the build without a registry, as far as files tell."""

import asyncio
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from prefect.workers.base import BaseJobConfiguration
from pydantic import ConfigDict

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "infra" / "docker"
RECIPE = (DOCKER / "Dockerfile").read_text()
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
PLACES = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")


@pytest.fixture(autouse=True, scope="module")
def scripts() -> Any:
    sys.path[:0] = folders = [str(DOCKER), str(ROOT / "tests" / "image")]
    yield
    for folder in folders:
        sys.path.remove(folder)


class TestDockerfile:
    def test_ends_as_no_root(self) -> None:
        assert re.findall(r"^USER (\S+)", RECIPE, re.M)[-1] == "10001:10001"

    def test_its_base_is_a_full_version(self) -> None:
        (base,) = re.findall(r"^ARG BASE=(\S+)", RECIPE, re.M)
        assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", base)
        assert set(re.findall(r"^FROM (\S+)", RECIPE, re.M)) == {"${BASE}"}

    def test_versions_are_pinned(self) -> None:
        for line in re.findall(r"pip install ([^\n]*)", RECIPE):
            assert "--constraint constraints.txt" in line or "--no-deps" in line

    def test_labels_are_given_at_build_time(self) -> None:
        for name in ("version", "revision", "created"):
            assert f'org.opencontainers.image.{name}="${{{name.upper()}}}"' in RECIPE
        made = (ROOT / "Makefile").read_text()
        assert "--build-arg VERSION=" in made
        assert "--build-arg REVISION=" in made

    def test_code_comes_after_libraries(self) -> None:
        places = [RECIPE.index(part) for part in ("install_torch.py --variant", "requirements.txt")]
        assert places[0] < places[1] < RECIPE.index("COPY flows")

    def test_every_package_is_copied(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        rooms = {
            p.rstrip("*") for p in project["tool"]["setuptools"]["packages"]["find"]["include"]
        }
        copied = set(re.findall(r"^COPY (\w+) \w+$", RECIPE, re.M))
        allowed = (ROOT / ".dockerignore").read_text().split()
        assert rooms == copied
        assert all(f"!{room}" in allowed for room in rooms)
        for path in re.findall(r"^COPY (infra/\S+)", RECIPE, re.M):
            assert f"!{path}" in allowed
            assert (ROOT / path).exists()


class TestTorch:
    def install(self, *arguments: str) -> Any:
        command = [sys.executable, str(DOCKER / "install_torch.py"), "--dry-run", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def test_a_cpu_image_says_where_its_wheels_come_from(self, tmp_path: Path) -> None:
        refused = self.install("--variant", "cpu", "--wheels", str(tmp_path))
        assert refused.returncode == 1
        assert "TORCH_INDEX" in refused.stderr
        assert "Traceback" not in refused.stderr

    def test_both_wheels_have_to_be_there(self, tmp_path: Path) -> None:
        (tmp_path / "torch-1.0+cpu-cp311.whl").touch()
        refused = self.install("--variant", "cpu", "--wheels", str(tmp_path))
        assert "no torchvision is there" in refused.stderr
        (tmp_path / "torchvision-1.0+cpu-cp311.whl").touch()
        assert self.install("--variant", "cpu", "--wheels", str(tmp_path)).returncode == 0

    @pytest.mark.parametrize(
        ("variant", "index", "refused"),
        [
            ("cpu", "file:///w", False),
            ("gpu", "", False),
            ("gpu", "file:///w", True),
            ("tpu", "", True),
        ],
    )
    def test_variants(self, variant: str, index: str, refused: bool, tmp_path: Path) -> None:
        given = ["--variant", variant, "--wheels", str(tmp_path), "--index", index]
        assert bool(self.install(*given).returncode) is refused

    @pytest.mark.parametrize(
        ("variant", "cuda", "problem"),
        [
            ("cpu", "None", None),
            ("gpu", "13.0", None),
            ("cpu", "13.0", "for CUDA 13.0"),
            ("gpu", "None", "for CPUs only"),
        ],
    )
    def test_what_came_is_what_was_promised(
        self, variant: str, cuda: str, problem: str | None
    ) -> None:
        found = importlib.import_module("install_torch").mismatch(variant, "2.0", cuda)
        assert (found is None) if problem is None else (problem in found)


def rendered(environment: dict[str, str]) -> Any:
    """The Docker pool's configuration as Prefect's worker makes it for a deployment."""
    template = json.loads((ROOT / "infra/prefect/work-pool-docker.json").read_text())
    values = {"command": "prefect flow-run execute", "env": environment}

    class Seen(BaseJobConfiguration):
        model_config = ConfigDict(extra="allow")

    return asyncio.run(
        Seen.from_template_and_values(template, values, client=None)  # type: ignore[arg-type]
    )


class TestDockerPool:
    def test_needs_no_block(self) -> None:
        text = (ROOT / "infra/prefect/work-pool-docker.json").read_text()
        assert "prefect.blocks" not in text

    def test_what_the_worker_has_of_the_object_store_is_passed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (*CREDENTIALS, *PLACES):
            monkeypatch.setenv(name, f"{name} of the worker")
        found = rendered({"DO_NOT_TRACK": "1"}).env
        assert found["DO_NOT_TRACK"] == "1"
        assert all(found[name] == f"{name} of the worker" for name in (*CREDENTIALS, *PLACES))

    def test_what_it_lacks_does_not_reach_the_command(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prefect passes an empty text, and an empty region makes an address that is none."""
        for name in (*CREDENTIALS, *PLACES, "AWS_ENDPOINT_URL_S3"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_REGION", "a b")
        passed = {**rendered({"DO_NOT_TRACK": "1"}).env, "PATH": os.environ["PATH"]}
        command = [str(DOCKER / "entry.sh"), "env"]
        done = subprocess.run(command, env=passed, capture_output=True, text=True, check=True)
        names = {line.partition("=")[0] for line in done.stdout.splitlines()}
        assert {name for name in names if name.startswith("AWS_")} == {"AWS_REGION"}
        assert "AWS_REGION=a b" in done.stdout
        assert "DO_NOT_TRACK=1" in done.stdout

    def test_the_image_starts_commands_so(self) -> None:
        assert 'ENTRYPOINT ["tini", "-g", "--", "/usr/local/bin/stego-entry"]' in RECIPE
        assert "COPY infra/docker/entry.sh /usr/local/bin/stego-entry" in RECIPE

    def test_a_deployment_may_say_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_REGION", "here")
        assert rendered({"AWS_REGION": "there"}).env["AWS_REGION"] == "there"

    def test_containers_have_little_privilege(self) -> None:
        found = rendered({}).container_create_kwargs
        assert found["read_only"]
        assert found["cap_drop"] == ["ALL"]
        assert set(found["tmpfs"]) == {"/tmp", "/home/stego"}


class TestPipAccess:
    listed = (
        ":env:.find-links='/w'\n"
        "global.extra-index-url='file:///p/q/simple https://host/simple'\n"
        "global.find-links='/other'\n"
        "user.colour='no'\n"
    )

    def test_settings_are_joined_and_the_environment_wins(self) -> None:
        merged = importlib.import_module("pip_access").merged(self.listed)
        assert merged["find-links"] == "/w"
        assert merged["extra-index-url"] == "file:///p/q/simple https://host/simple"

    def test_folders_of_an_index_come_with_what_its_pages_name(self, tmp_path: Path) -> None:
        (tmp_path / "deep" / "index" / "simple").mkdir(parents=True)
        index = f"file://{tmp_path}/deep/index/simple"
        found = importlib.import_module("pip_access").folders({"index-url": index})
        assert found == {tmp_path / "deep" / "index"}


def test_the_container_that_is_tried_is_what_kubernetes_runs(tmp_path: Path) -> None:
    image = {
        "User": "10001:10001",
        "Entrypoint": ["tini", "--"],
        "Env": ["A=b"],
        "WorkingDir": "/workspaces",
    }
    container = importlib.import_module("container")
    found = container.bundle_document(image, tmp_path, tmp_path, ("stego", "--help"), 2)
    assert found["root"]["readonly"]
    process = found["process"]
    assert process["args"] == ["tini", "--", "stego", "--help"]
    assert process["user"] == {"uid": 10001, "gid": 10001}
    assert process["noNewPrivileges"]
    assert not process["capabilities"]
    resources = found["linux"]["resources"]
    assert resources["memory"]["limit"] == 3 * 2**30
    assert resources["cpu"] == {"quota": 200_000, "period": 100_000}
    assert "network" in {namespace["type"] for namespace in found["linux"]["namespaces"]}
