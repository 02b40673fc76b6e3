"""What tests of several areas share: both kinds of place, and a workspace with two dumps."""

from pathlib import Path
from uuid import uuid4

import pytest
from two_dumps import rows  # noqa: F401

from tasks.storage.storage import Storage


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage.at(str(tmp_path / "ws"))
    return Storage.at(f"memory://{uuid4().hex}/ws")


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage.at(str(tmp_path / "ws"))


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the current one during the test."""
    monkeypatch.chdir(tmp_path)
    return Path.cwd()
