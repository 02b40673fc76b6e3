"""What the tests of commands share: a finished workspace that no flow made, so it is there soon."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from explored_workspace import finished

from tasks.storage import run_cache


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    """A folder with a workspace `ws` of two dumps and five classes, and their images."""
    folder = tmp_path_factory.mktemp("made")
    with run_cache.during("made"):
        finished(str(folder / "ws"), folder, make_corpus)
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> str:
    """A copy of the workspace that a test may change."""
    shutil.copytree(made / "ws", tmp_path / "ws")
    return str(tmp_path / "ws")
