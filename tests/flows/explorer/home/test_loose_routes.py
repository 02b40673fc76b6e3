"""One image that the page sends, labelled without becoming part of the workspace."""

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from attacker import snapshot
from explored_workspace import finished
from explorer_client import client
from PIL import Image
from starlette.testclient import TestClient

from flows.api import open_workspace
from flows.explorer.guard import LARGEST_UPLOAD
from tasks.class_names import classes_file
from tasks.storage import run_cache
from tasks.workspace.workspace import Workspace

FILE = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("loose")
    with run_cache.during("made"):
        finished(str(folder / "ws"), folder, make_corpus)
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(made / "ws", tmp_path / "ws")
    with run_cache.during("loose"):
        yield Workspace.open(str(tmp_path / "ws"))


def image(made: Path) -> bytes:
    return next((made / "a" / "images").glob("*.png")).read_bytes()


def test_labelled_as_the_interface_does(own: Workspace, made: Path) -> None:
    classes = classes_file.current_names(own).classes
    classes_file.edit(own, classes.merged([1], 0), "merged", classes_file.current_names(own).stamp)
    before = snapshot(Path(own.storage.uri))
    asked = client(own)
    answer = asked.post("/api/loose", content=image(made), headers=FILE)
    assert answer.json() == {"number": 1, "height": 64, "width": 64}
    opened = open_workspace(own.storage.uri)
    expected = opened.clusters(opened.read(image(made)))
    mask = np.asarray(Image.open(io.BytesIO(asked.get("/api/loose/1/mask").content)))
    assert np.array_equal(mask, expected)
    file = np.asarray(Image.open(io.BytesIO(asked.get("/api/loose/1/file").content)))
    assert np.array_equal(file, opened.label(opened.read(image(made))))
    assert Image.open(io.BytesIO(asked.get("/api/loose/1/image").content)).size == (64, 64)
    assert snapshot(Path(own.storage.uri)) == before


def test_only_the_last_one_is_at_hand(own: Workspace, made: Path) -> None:
    asked = client(own)
    assert asked.get("/api/loose/1/mask").status_code == 404
    for _ in range(2):
        asked.post("/api/loose", content=image(made), headers=FILE)
    assert asked.get("/api/loose/2/mask").status_code == 200
    gone = asked.get("/api/loose/1/mask")
    assert (gone.status_code, gone.json()["error"]) == (
        404, "this image is no longer at hand; send it again"
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_what_is_no_image_is_told(own: Workspace, content: bytes) -> None:
    answer = client(own).post("/api/loose", content=content, headers=FILE)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 10


class TestWhatMaySend:
    def test_not_too_much(self, own: Workspace) -> None:
        headers = {**FILE, "content-length": str(LARGEST_UPLOAD + 1)}
        answer = client(own).post("/api/loose", content=b"x", headers=headers)
        assert answer.status_code == 413

    def test_files_at_one_address_alone(self, own: Workspace, made: Path) -> None:
        for path in ("/api/loose/", "/api/classes/undo", "/api/export", "/api/home/start"):
            answer = client(own).post(path, content=image(made), headers=FILE)
            assert answer.status_code == 415
        for form in ("image/png", "text/plain", "multipart/form-data; boundary=x"):
            answer = client(own).post("/api/loose", content=b"x", headers={"content-type": form})
            assert answer.status_code == 415

    def test_not_without_the_cookie_nor_from_elsewhere(self, own: Workspace, made: Path) -> None:
        asked = client(own)
        elsewhere = {**FILE, "origin": "http://evil.example"}
        assert asked.post("/api/loose", content=image(made), headers=elsewhere).status_code == 403
        asked.cookies.clear()
        assert asked.post("/api/loose", content=image(made), headers=FILE).status_code == 401

    def test_not_another_machine(self, fixed: TestClient, made: Path) -> None:
        assert fixed.post("/api/loose", content=image(made), headers=FILE).status_code == 403
