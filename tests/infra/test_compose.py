"""The compose file, as far as files tell: images, commands, settings, passwords, ports, volumes."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "infra" / "docker" / "compose.yaml").read_text()
SECRETS = {"POSTGRES_PASSWORD": "p@:/w", "PREFECT_AUTH": "user:secret"}
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|(:\?))?\}")
KEYS = {
    "image", "restart", "read_only", "cap_drop", "security_opt", "command", "environment", "ports",
    "volumes", "tmpfs", "depends_on", "healthcheck",
}  # fmt: skip


def services(**variables: str) -> Any:
    """The services as Docker reads them: with anchors resolved and variables filled in."""
    filled = VARIABLE.sub(lambda found: variables.get(found[1], found[2] or ""), TEXT)
    return yaml.safe_load(filled)["services"]


FILLED = services(**SECRETS)
OURS = {name: FILLED[name] for name in ("server", "worker")}


def test_every_key_is_known_and_every_volume_is_declared() -> None:
    assert set().union(*FILLED.values()) <= KEYS
    declared = yaml.safe_load(TEXT)["volumes"]
    named = {each.partition(":")[0] for one in FILLED.values() for each in one["volumes"]}
    assert named == set(declared)


def test_passwords_come_from_outside_and_have_to_be_there() -> None:
    assert {name for name, _, needed in VARIABLE.findall(TEXT) if needed} == set(SECRETS)
    for line in TEXT.splitlines():
        if re.search("PASSWORD|AUTH_STRING|SECRET", line) and not line.startswith("#"):
            assert "${" in line or line.endswith("AWS_SECRET_ACCESS_KEY:")
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    assert (ROOT / ".dockerignore").read_text().split("\n")[1] == "*"


def test_the_image_is_the_one_that_make_builds() -> None:
    built = (ROOT / "Makefile").read_text()
    for variant in ("cpu", "gpu"):
        for one in ("server", "worker"):
            assert services(VARIANT=variant)[one]["image"] == f"stego-flows:{variant}"
    assert "--tag stego-flows:$(VARIANT)" in built
    assert {one["image"] for one in OURS.values()} == {"stego-flows:cpu"}
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", FILLED["database"]["image"])


@pytest.mark.parametrize("name", OURS)
class TestOurs:
    def test_prefect_knows_the_command(self, name: str) -> None:
        program, *words = OURS[name]["command"]
        flags = [word for word in words if word.startswith("--")]
        command = [sys.executable, "-m", program, *words[: words.index(flags[0])], "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert all(flag in shown for flag in flags)

    def test_prefect_knows_the_settings(self, name: str) -> None:
        for setting in OURS[name]["environment"]:
            if setting.startswith("PREFECT_"):
                getattr(prefect.settings, setting)  # AttributeError where there is none

    def test_it_has_little_privilege(self, name: str) -> None:
        one = OURS[name]
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        written = {each.partition(":")[2] for each in one["volumes"]}
        written |= {each.partition(":")[0] for each in one["tmpfs"]}
        assert {"/tmp", "/home/stego"} <= written <= {"/tmp", "/home/stego", "/workspaces"}


def test_only_the_server_has_a_port_and_only_on_loopback() -> None:
    assert FILLED["server"]["ports"] == ["127.0.0.1:4200:4200"]
    assert not any("ports" in FILLED[name] for name in ("database", "worker"))


def test_they_start_one_after_another() -> None:
    waits = {name: one.get("depends_on", {}) for name, one in FILLED.items()}
    healthy = {"condition": "service_healthy"}
    assert waits == {"database": {}, "server": {"database": healthy}, "worker": {"server": healthy}}
    for one in FILLED.values():
        assert one["healthcheck"]["test"][0] == "CMD"


def test_server_worker_and_database_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    database, server, worker = (FILLED[name]["environment"] for name in FILLED)
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    url = prefect.settings.Settings().server.database.connection_url
    assert url is not None
    user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
    place = f"{user}:p%40%3A%2Fw@database:5432/{name}"
    assert url.get_secret_value() == f"postgresql+asyncpg://{place}"
    assert worker["PREFECT_API_URL"] == "http://server:4200/api"
    assert worker["PREFECT_API_AUTH_STRING"] == server["PREFECT_SERVER_API_AUTH_STRING"]


def test_the_worker_serves_the_pool_of_the_deployments() -> None:
    words = OURS["worker"]["command"]
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    pools = {one["work_pool"]["name"] for one in document["deployments"]}
    assert {words[words.index("--pool") + 1]} == pools


def test_variables_of_the_object_store_are_passed_where_they_are_set() -> None:
    passed = {name for name, value in OURS["worker"]["environment"].items() if value is None}
    template = (ROOT / "infra/prefect/work-pool-docker.json").read_text()
    assert len(passed) == 4
    assert all(f'"{name}"' in template for name in passed)
