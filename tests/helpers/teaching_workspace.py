"""For the tests of teaching: a small finished workspace that is prepared for it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from explored_workspace import compute, finished

from tasks.engine.stage import Stage
from tasks.storage import run_cache
from tasks.teaching import graph, image_features
from tasks.teaching.ground import sampled_dumps, spec_of
from tasks.workspace.workspace import Workspace


def prepared(workspace: Workspace) -> Workspace:
    """Keep what each image is read as, and sample the graph."""
    spec = spec_of(workspace)
    for dump in workspace.dumps():
        compute(image_features.plan(workspace, dump, spec, "cpu"))
    compute(graph.plan(workspace, sampled_dumps(workspace), spec), Stage.finish_single)
    return workspace


@pytest.fixture(scope="module")
def untaught(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]
) -> Iterator[Path]:
    """Place of a workspace with two dumps, of which the first was trained on, without a lesson."""
    folder = tmp_path_factory.mktemp("taught")
    with run_cache.during(str(folder)):
        prepared(finished(str(folder / "ws"), folder, make_corpus))
        yield folder / "ws"


@pytest.fixture
def ground_workspace(untaught: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of it for one test."""
    shutil.copytree(untaught, tmp_path / "ws")
    with run_cache.during(str(tmp_path)):
        yield Workspace.open(str(tmp_path / "ws"))
