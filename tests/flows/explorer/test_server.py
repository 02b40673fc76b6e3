"""The explorer's server: who may ask, what it answers, what it refuses."""

import io
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from explorer_page import pipeline_on
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from flows.cli.main import main
from flows.explorer.app import application
from flows.explorer.guard import Guard, is_loopback
from flows.explorer.listening import listening
from flows.explorer.login import Login
from flows.explorer.state import Explorer
from stego_core.errors import OptionError
from stego_core.masks.margins import SURE
from tasks.class_names import classes_file
from tasks.storage import run_cache
from tasks.storage.storage import Storage
from tasks.workspace import lease
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]
HERE = "http://127.0.0.1:8765"


@pytest.fixture(autouse=True)
def epoch() -> Iterator[None]:
    with run_cache.during("test"):
        yield


@pytest.fixture
def own(explored: Path, tmp_path: Path) -> Workspace:
    """A copy of the workspace that a test may change."""
    shutil.copytree(explored / "ws", tmp_path / "ws")
    return Workspace.open(str(tmp_path / "ws"))


def guarded(explorer: Explorer, login: Login | None = None) -> TestClient:
    """Somebody who has opened the printed address."""
    login = login or Login(8765)
    guard = Guard(application(explorer), "127.0.0.1", "127.0.0.1", login)
    asked = TestClient(guard, HERE, raise_server_exceptions=False)
    asked.cookies.set(login.cookie, login.session)
    return asked


def client(workspace: Workspace) -> TestClient:
    return guarded(Explorer(workspace))


@pytest.fixture
def asked(explored: Path) -> TestClient:
    return client(Workspace.open(str(explored / "ws")))


def change(asked: TestClient, path: str, **body: Any) -> Any:
    """Send a change as the page does."""
    overview = asked.get("/api/overview").json()
    body = {"stamp": overview["stamp"], **body}
    return asked.post(f"/api/{path}", json=body)


class TestGuard:
    def test_every_answer_carries_the_headers(self, asked: TestClient) -> None:
        for path in ("/", "/static/main.js", "/api/overview", "/nowhere", "/api/thumb/train/0"):
            headers = asked.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["referrer-policy"] == "no-referrer"

    @pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765"])
    def test_loopback_is_served(self, asked: TestClient, host: str) -> None:
        own = {"host": host, "origin": f"http://{host}"}
        assert asked.get("/api/overview", headers=own).status_code == 200

    def test_names_of_the_server(self) -> None:
        def serves(host: str, bound: str, name: str) -> bool:
            return Guard(FastAPI(), host, bound, Login(8765)).serves(name)

        assert serves("0.0.0.0", "0.0.0.0", "192.168.1.7:8765")
        assert serves("::", "::", "[fe80::1]:8765")
        assert not serves("0.0.0.0", "0.0.0.0", "evil.example:8765")
        assert serves("box.local", "192.168.1.7", "BOX.local:8765")
        assert serves("box.local", "192.168.1.7", "192.168.1.7:8765")
        assert not serves("box.local", "192.168.1.7", "192.168.1.8:8765")

    def test_loopback(self) -> None:
        assert [is_loopback(h) for h in ("127.0.0.1", "127.8.8.8", "::1")] == [True] * 3
        assert [is_loopback(h) for h in ("0.0.0.0", "::", "192.168.1.7", "")] == [False] * 4


class TestReading:
    def test_the_page_and_its_files(self, asked: TestClient) -> None:
        assert "text/html" in asked.get("/").headers["content-type"]
        assert "text/javascript" in asked.get("/static/main.js").headers["content-type"]
        assert "http://" not in asked.get("/").text.replace("http://www.w3.org", "")

    @pytest.mark.parametrize(
        "path",
        [
            "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/",
            "/api/image/..%2f..%2fetc/0", "/api/image/%2e%2e/0", "/api/image/train/..%2f0",
            "/api/image/train%00/0", "/api/image/nowhere/0", "/api/thumb/../train/0",
        ],
    )  # fmt: skip
    def test_no_path_leads_outside(self, asked: TestClient, path: str) -> None:
        answer = asked.get(path)
        assert answer.status_code in (400, 404)
        assert "root:" not in answer.text
        assert "Traceback" not in answer.text

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
    def test_bad_numbers_and_names(self, asked: TestClient, path: str, status: int) -> None:
        answer = asked.get(path)
        assert answer.status_code == status
        if path != "/api/nothing":
            assert len(answer.json()["error"]) > 10

    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
    def test_nothing_describes_the_addresses(self, asked: TestClient, path: str) -> None:
        assert asked.get(path).status_code == 404

    def test_masks_are_the_stored_ids(self, asked: TestClient, explored: Path) -> None:
        item = asked.get("/api/item/train/2").json()
        key = json.loads((explored / "ws" / "current.json").read_text())["keys"]["masks"]
        stem = Path(item["path"]).stem
        (stored,) = (explored / "ws" / "masks" / key / "train").glob(f"{stem}*.png")
        sent = Image.open(io.BytesIO(asked.get("/api/mask/train/2").content))
        assert sent.mode == "L"
        np.testing.assert_array_equal(np.asarray(sent), np.asarray(Image.open(stored)))
        small = Image.open(io.BytesIO(asked.get("/api/thumbmask/train/2").content))
        photo = Image.open(io.BytesIO(asked.get("/api/thumb/train/2").content))
        assert small.size == photo.size

    def test_labels_and_margins(self, asked: TestClient, explored: Path) -> None:
        item = asked.get("/api/item/train/1").json()
        sent = np.asarray(Image.open(io.BytesIO(asked.get("/api/labels/train/1").content)))
        labels = explored / "train" / "labels" / item["path"]
        np.testing.assert_array_equal(sent, np.asarray(Image.open(labels)))
        margins = Image.open(io.BytesIO(asked.get("/api/margins/train/1").content))
        key = json.loads((explored / "ws" / "current.json").read_text())["keys"]["masks"]
        path = explored / "ws" / "masks" / key / "train" / "confidence.parquet"
        table = pq.read_table(path).to_pydict()
        assert item["doubt"] == pytest.approx(table["doubt"][table["row"].index(1)], rel=1e-5)
        assert margins.size == (item["width"], item["height"])

    def test_pictures_are_kept_by_the_browser(self, asked: TestClient) -> None:
        version = asked.get("/api/overview").json()["version"]
        first = asked.get(f"/api/thumb/train/0?v={version}")
        assert "immutable" in first.headers["cache-control"]
        again = asked.get("/api/thumb/train/0", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert asked.get("/api/thumb/train/1").headers["etag"] != first.headers["etag"]
        stale = asked.get("/api/thumb/train/0?v=other")
        assert stale.headers["cache-control"] == "no-cache"

    def test_every_address_of_the_page_is_its_own(self, asked: TestClient) -> None:
        """That of a picture, of any kind, takes none of the others."""
        assert asked.get("/api/prepare/train/0").json() == {}
        assert asked.get("/api/item/train/0").json()["row"] == 0
        answer = asked.get("/api/nothing/train/0")
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("kind: ")

    def test_an_unexpected_error_tells_nothing(
        self, asked: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("the inside of it")

        monkeypatch.setattr("tasks.browse.gallery.page", broken)
        answer = asked.get("/api/page")
        assert answer.status_code == 500
        assert "inside" not in answer.text


class TestChanging:
    def test_rename_merge_ignore_undo(self, own: Workspace) -> None:
        asked = client(own)
        first, second = asked.get("/api/overview").json()["classes"][:2]
        renamed = change(asked, "classes/rename", id=first["id"], name="  the  sky ").json()
        assert renamed["classes"][first["id"]]["name"] == "the sky"
        assert renamed["note"] == f"renamed {first['name']} to the sky"
        assert change(asked, "classes/recolour", id=0, colour="#A0B0C0").status_code == 200
        merged = change(asked, "classes/merge", ids=[second["id"]], into=first["id"])
        assert merged.json()["classes"][second["id"]]["merged_into"] == first["id"]
        assert classes_file.current_names(own).classes.display_table()[second["id"]] == first["id"]
        apart = change(asked, "classes/merge", ids=[second["id"]], into=None).json()
        assert apart["classes"][second["id"]]["merged_into"] is None
        assert change(asked, "classes/ignore", ids=[3], ignored=True).json()["classes"][3][
            "ignored"
        ]
        undone = change(asked, "classes/undo").json()
        assert not undone["classes"][3]["ignored"]
        assert undone["revision"] == 6

    def test_a_stale_stamp_is_told(self, own: Workspace) -> None:
        asked = client(own)
        stale = asked.get("/api/overview").json()["stamp"]
        change(asked, "classes/rename", id=0, name="mine")
        for path, body in (
            ("rename", {"id": 0, "name": "yours"}), ("merge", {"ids": [1], "into": 0}),
            ("ignore", {"ids": [1], "ignored": True}), ("undo", {}),
        ):  # fmt: skip
            answer = change(asked, f"classes/{path}", stamp=stale, **body)
            assert answer.status_code == 409
            assert "changed meanwhile" in answer.json()["error"]
        assert classes_file.current_names(own).classes.entries[0].name == "mine"

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("rename", {"id": 99, "name": "x"}), ("rename", {"id": 0, "name": " "}),
            ("rename", {"id": 0}), ("rename", {"id": "0", "name": "x"}),
            ("rename", {"id": 0, "name": "x", "more": 1}), ("recolour", {"id": 0, "colour": "red"}),
            ("merge", {"ids": [0], "into": 0}), ("merge", {"ids": [-1], "into": 0}),
        ],
    )  # fmt: skip
    def test_nonsense_is_told(self, asked: TestClient, path: str, body: dict[str, Any]) -> None:
        answer = change(asked, f"classes/{path}", **body)
        assert answer.status_code == 400
        assert len(answer.json()["error"]) > 10

    def test_names_change_while_a_run_writes(self, own: Workspace) -> None:
        with lease.writing(own.storage):
            assert change(client(own), "classes/rename", id=0, name="now").status_code == 200


class TestIndex:
    def until(self, explorer: Explorer, state: str) -> dict[str, Any]:
        for _ in range(400):
            if explorer.searching.document()["state"] == state:
                return explorer.searching.document()
            time.sleep(0.05)
        raise AssertionError(explorer.searching.document())

    def test_waits_for_a_run_then_is_built(self, own: Workspace) -> None:
        explorer = Explorer(own)
        asked = guarded(explorer)
        with lease.writing(Storage.at(own.storage.uri)):
            explorer.searching.start()
            told = self.until(explorer, "waiting")
            assert "is being written by process" in told["sentence"]
            assert not told["searchable"]
            assert asked.get("/api/page").status_code == 200
            refused = asked.get("/api/matches?dump=train&row=0&y=0.5&x=0.5")
            assert refused.status_code == 409
        self.until(explorer, "ready")
        items = asked.get("/api/matches?dump=train&row=0&y=0.5&x=0.5").json()["items"]
        explorer.searching.stop()
        assert items
        assert all((item["dump"], item["row"]) != ("train", 0) for item in items)
        similarities = [item["similarity"] for item in items]
        assert similarities == sorted(similarities, reverse=True)

    def test_without_stored_features_an_image_is_still_asked(self, own: Workspace) -> None:
        """As with an imported head, which has neither features nor neighbours."""
        current = own.last_run()
        keys = {n: k for n, k in current["keys"].items() if n not in {"features", "neighbors"}}
        own.update_last_run(keys=keys, neighbors={})
        explorer = Explorer(own)
        explorer.searching.start()
        told = self.until(explorer, "none")
        explorer.searching.stop()
        assert "no stored features" in told["sentence"]
        assert not told["searchable"]
        asked, place = client(own), "dump=train&row=0&y=0.5&x=0.5"
        assert asked.get(f"/api/neighbours?{place}").json() == {"items": None}
        assert asked.get(f"/api/heat?{place}").status_code == 200

    def test_a_workspace_that_cannot_be_written_shows_the_rest(self, own: Workspace) -> None:
        folder = Path(own.storage.uri)
        shutil.rmtree(folder / "writers", ignore_errors=True)
        (folder / "writers").write_text("in the way of every claim")
        explorer = Explorer(own)
        explorer.searching.start()
        told = self.until(explorer, "failed")
        explorer.searching.stop()
        assert "cannot be written" in told["sentence"]
        assert client(own).get("/api/page").json()["total"] == 6

    def test_a_new_dump_shows_up(
        self,
        own: Workspace,
        tmp_path: Path,
        make_corpus: Callable[..., Path],
    ) -> None:
        asked = client(own)
        assert asked.get("/api/page").json()["total"] == 6
        before = asked.get("/api/overview").json()
        new = make_corpus(tmp_path / "new", 2, first=50)
        pipeline_on(own.storage.uri, new, "backfill", "new")
        after = asked.get("/api/overview").json()
        assert [dump["name"] for dump in after["dumps"]] == ["train", "new"]
        assert after["version"] != before["version"]
        assert asked.get("/api/page?dump=new").json()["total"] == 2
        assert asked.get("/api/image/new/1").status_code == 200


class TestServing:
    def test_a_busy_port_is_one_sentence(
        self,
        explored: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            with pytest.raises(SystemExit):
                main(["explore", "--workspace", str(explored / "ws"), "--port", port])
        assert "is in use; give another one with --port" in capsys.readouterr().err

    @pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no.such.host.invalid", 0)])
    def test_an_address_that_is_none(self, host: str, port: int) -> None:
        with pytest.raises(OptionError, match=r"port 70000|cannot be listened on"):
            listening(host, port)

    def test_no_workspace_is_one_sentence(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            main(["explore", "--workspace", str(tmp_path / "none"), "--port", "0"])
        assert "is not a workspace" in capsys.readouterr().err


def test_every_format_of_exports_is_offered() -> None:
    from flows.explorer.export_jobs import FORMATS
    from tasks.exports.run import WRITERS

    assert set(FORMATS) == set(WRITERS)


def test_the_page_and_the_tables_call_the_same_pixels_doubtful() -> None:
    script = files("flows.explorer").joinpath("static", "paint.js").read_text()
    assert f"const SURE = {SURE};" in script
