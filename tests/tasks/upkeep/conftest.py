"""A small finished workspace, and copies that a test may change."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from explored_workspace import finished

from tasks.storage import run_cache
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    """A folder with a workspace `ws` of two dumps, and their images."""
    folder = tmp_path_factory.mktemp("kept")
    with run_cache.during("kept"):
        finished(str(folder / "ws"), folder, make_corpus)
    return folder


@pytest.fixture
def workspace(original: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of it."""
    shutil.copytree(original / "ws", tmp_path / "ws")
    with run_cache.during(str(tmp_path)):
        yield Workspace.open(str(tmp_path / "ws"))


@pytest.fixture
def moved(workspace: Workspace, tmp_path: Path) -> Callable[[str], Path]:
    """Give a dump a copy of its images that a test may change; returns their folder."""

    def move(dump: str) -> Path:
        folder = workspace.corpus(dump)
        manifest, target = folder.manifest(), tmp_path / "images" / dump
        shutil.copytree(manifest["images_root"], target)
        for name in (layout.MANIFEST, layout.PLAN):
            path = f"{folder.path}/{name}"
            text = workspace.storage.read(path).decode()
            text = text.replace(manifest["images_root"], str(target))
            workspace.storage.write(path, text.encode())
        run_cache.renew(f"{run_cache.current_run()} moved")
        return target

    return move
