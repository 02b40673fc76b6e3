"""The pinned versions of what Prefect stands on are those that it declares and can work with."""

import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINS = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.M))
PINNED = {canonicalize_name(name): pin for name, pin in PINS.items()}


def declared(package: str) -> list[Requirement]:
    found = [Requirement(text) for text in requires(package) or []]
    return [one for one in found if not one.marker or one.marker.evaluate({"extra": ""})]


@pytest.mark.parametrize("package", ["prefect", "pydocket", "sqlalchemy", "fastapi", "starlette"])
def test_pins_are_in_the_declared_range(package: str) -> None:
    for one in declared(package):
        pin = PINNED[canonicalize_name(one.name)]
        assert one.specifier.contains(pin, prereleases=True), f"{package} asks for {one}, not {pin}"


def test_the_scheduler_works_with_this_sqlalchemy() -> None:
    """With 2.1, prefect 3.8.8 says "Can't evaluate bulk DML statement" and schedules nothing."""
    assert PINNED["sqlalchemy"].startswith("2.0.")
    assert version("sqlalchemy").startswith("2.0.")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {one.name: one for one in map(Requirement, project["dependencies"])}
    assert not ours["sqlalchemy"].specifier.contains("2.1.0")
