"""The explorer's server: who may ask, what it answers, what it refuses."""

import io
import json
import socket
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from explorer_client import change, client
from explorer_page import pipeline_on
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from flows.cli.main import main
from flows.explorer.guard import Guard, is_loopback
from flows.explorer.listening import listening
from flows.explorer.login import Login
from stego_core.errors import OptionError
from stego_core.masks.margins import SURE
from tasks.class_names import classes_file
from tasks.workspace import lease
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(200)]


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

    def test_merge_as_suggested(self, own: Workspace) -> None:
        asked = client(own)
        classes = asked.get("/api/overview").json()["classes"]
        for number in range(len(classes)):
            change(asked, "classes/rename", id=number, name=f"cluster {number}")
        suggested = asked.get("/api/merges", params={"groups": 4}).json()
        assert suggested["count"] == len(suggested["groups"]) == 4
        assert suggested["most"] == len(classes)
        joined = next(group for group in suggested["groups"] if group["ids"])
        assert {"dump", "row", "path", "share"} <= set(suggested["images"][str(joined["into"])])
        merged = change(asked, "classes/merge-suggested", groups=4).json()
        for number in joined["ids"]:
            assert merged["classes"][number]["merged_into"] == joined["into"]
        assert merged["note"].startswith("merged into 4 as suggested: ")
        undone = change(asked, "classes/undo").json()
        assert {each["merged_into"] for each in undone["classes"]} == {None}

    def test_a_stale_stamp_is_told(self, own: Workspace) -> None:
        asked = client(own)
        stale = asked.get("/api/overview").json()["stamp"]
        change(asked, "classes/rename", id=0, name="mine")
        for path, body in (
            ("rename", {"id": 0, "name": "yours"}), ("merge", {"ids": [1], "into": 0}),
            ("ignore", {"ids": [1], "ignored": True}), ("undo", {}),
            ("merge-suggested", {"groups": 4}),
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
            ("merge-suggested", {"groups": 99}), ("merge-suggested", {}),
        ],
    )  # fmt: skip
    def test_nonsense_is_told(self, asked: TestClient, path: str, body: dict[str, Any]) -> None:
        answer = change(asked, f"classes/{path}", **body)
        assert answer.status_code == 400
        assert len(answer.json()["error"]) > 10

    def test_names_change_while_a_run_writes(self, own: Workspace) -> None:
        with lease.writing(own.storage):
            assert change(client(own), "classes/rename", id=0, name="now").status_code == 200


def test_a_new_dump_shows_up(
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

    def test_a_folder_of_other_files_is_one_sentence(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "photo.jpg").touch()
        with pytest.raises(SystemExit):
            main(["explore", "--workspace", str(tmp_path), "--port", "0"])
        assert "is not a workspace" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_every_format_of_exports_is_offered() -> None:
    from flows.explorer.export_jobs import FORMATS
    from tasks.exports.run import WRITERS

    assert set(FORMATS) == set(WRITERS)


def test_the_page_and_the_tables_call_the_same_pixels_doubtful() -> None:
    script = files("flows.explorer").joinpath("static", "paint.js").read_text()
    assert f"const SURE = {SURE};" in script
