"""What a request names: dumps, rows and points that there are, and what is told of the others."""

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from flows.explorer.parameters import described, known_dump
from stego_core.errors import InputError
from tasks.corpus.index import IndexReader
from tasks.workspace.workspace import Workspace

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/page?offset=-1", 400), ("/api/page?limit=1e3", 400),
        ("/api/page?limit=100000", 400), ("/api/page?cls=99", 400),
        ("/api/page?cls=x", 400), ("/api/page?order=random", 400),
        ("/api/page?labelled=maybe", 400), ("/api/page?dump=nowhere", 404),
        ("/api/image/train/99999", 404), ("/api/mask/train/-1", 400),
        ("/api/mask/train/99999999999999999999", 400), ("/api/item/train/6", 404),
        ("/api/heat?dump=train&row=0&y=0.5", 400),
        ("/api/heat?dump=train&row=0&y=nan&x=0", 400),
        ("/api/heat?dump=train&row=0&y=2&x=0", 400),
        ("/api/heat?dump=train&row=77&y=0&x=0", 404),
        ("/api/neighbours?dump=x&row=0&y=0&x=0", 404), ("/api/nothing", 404),
    ],
)  # fmt: skip
def test_bad_numbers_and_names(asked: TestClient, path: str, status: int) -> None:
    answer = asked.get(path)
    assert answer.status_code == status
    if path != "/api/nothing":
        assert len(answer.json()["error"]) > 10


@pytest.fixture
def workspace(explored: Path, epoch: None) -> Workspace:
    return Workspace.open(str(explored / "ws"))


class TestDumps:
    def test_one_that_is_there(self, workspace: Workspace) -> None:
        assert known_dump(workspace, "train") == "train"

    def test_a_long_name_is_not_sent_back_whole(self, workspace: Workspace) -> None:
        with pytest.raises(InputError) as refused:
            known_dump(workspace, 500 * "x")
        assert str(refused.value) == f"there is no dump {100 * 'x'!r}; there are train"


class TestDescribed:
    def test_in_the_order_that_is_asked_for_and_twice(self, workspace: Workspace) -> None:
        rows = [4, 0, 4]
        documents = described(workspace, [("train", row) for row in rows])
        entries = {entry["row"]: entry for entry in documents}
        assert [document["row"] for document in documents] == rows
        reader = IndexReader(workspace, "train")
        for row in (0, 4):
            (entry,) = reader.entries(np.array([row]))
            assert entries[row]["path"] == entry["path"]
            assert entries[row] == {
                "dump": "train", "row": row, "labelled": True,
                **{name: entry[name] for name in ("path", "height", "width")},
            }  # fmt: skip

    def test_of_nothing(self, workspace: Workspace) -> None:
        assert described(workspace, []) == []
