"""A workspace that was trained, and whose patches can be searched."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from explored_workspace import compute, finished

from tasks.patch_index import stage as patches
from tasks.storage import run_cache
from tasks.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def searchable_workspace(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]
) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("explored")
    with run_cache.during(str(folder)):
        made = finished(str(folder / "ws"), folder, make_corpus)
        for stage, finish in patches.stages(made):
            compute(stage, finish)
        yield made
