"""A finished workspace of two dumps, made once."""

from collections.abc import Callable
from pathlib import Path

import explored_workspace
import pytest
from teaching_workspace import ground_workspace, untaught  # noqa: F401  fixtures

from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, make_corpus: Callable[..., Path]) -> Workspace:
    return explored_workspace.finished(str(tmp_path / "ws"), tmp_path, make_corpus)
