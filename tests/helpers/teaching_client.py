"""For the tests of teaching's routes: a page whose workspace is prepared."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import pytest
from explorer_client import guarded
from teaching_workspace import prepared

from flows.explorer.state import Explorer
from tasks.workspace import lease
from tasks.workspace.workspace import Workspace


class TaughtPage:
    """Teaching's routes, as the page uses them."""

    def __init__(self, workspace: Workspace, editable: bool = True) -> None:
        self.explorer = Explorer(workspace, editable=editable)
        self.client = guarded(self.explorer)

    def state(self) -> dict[str, Any]:
        return dict(self.client.get("/api/teach").json())

    def post(self, what: str, **body: Any) -> Any:
        return self.client.post(f"/api/teach/{what}", json=body)


@contextmanager
def written_elsewhere(workspace: Workspace) -> Iterator[None]:
    """Another run writes the workspace until the end of the block."""
    elsewhere, writing = copy_context(), lease.writing(workspace.storage)
    elsewhere.run(writing.__enter__)
    yield
    elsewhere.run(writing.__exit__, None, None, None)


def point(x: int, y: int, name: str, row: int = 0) -> dict[str, Any]:
    """A point as the page sends it."""
    return {"dump": "train", "row": row, "x": x, "y": y, "name": name}


@pytest.fixture
def taught_page(own: Workspace) -> Iterator[TaughtPage]:
    page = TaughtPage(prepared(own))
    yield page
    page.explorer.running.close()
