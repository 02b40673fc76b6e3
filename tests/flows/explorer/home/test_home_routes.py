"""What the page asks of its first view: a place is looked at, a run begins, stops, goes on."""

import json
import time
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from explorer_client import guarded
from home_client import Home, Script
from starlette.testclient import TestClient

from flows.explorer.home import home_routes
from flows.explorer.state import Explorer
from tasks.workspace import lease
from tasks.workspace.workspace import Workspace

BUNDLED = {"backbone": "vit_pico_patch8_conv_64", "weights": "bundled"}
CORPUS = {"title": "corpus images", "done": 0, "total": 8, "unit": "images", "finished": False,
          "note": "", "stage": "a"}  # fmt: skip
UNTIL_STOPPED = "sys.stdin.read()"


@pytest.fixture
def images(tmp_path: Path, make_corpus: Callable[..., Path]) -> str:
    return str(make_corpus(tmp_path / "corpus", 8) / "images")


class TestBefore:
    def test_nothing_is_there_and_nothing_is_made(self, home: Home, tmp_path: Path) -> None:
        document = home.look()
        assert (document["ready"], document["request"], document["writer"]) == (False, None, None)
        assert document["run"]["state"] == "none"
        assert document["workspace"] == str(tmp_path / "ws")
        assert not (tmp_path / "ws").exists()
        assert home.client.get("/").status_code == 200
        assert home.client.get("/api/overview").status_code == 409

    def test_what_is_found_is_told(self, home: Home, images: str, tmp_path: Path) -> None:
        Path(images, "notes.txt").write_text("not an image")
        found = home.post("check", images=f' "{images}" ', **BUNDLED).json()
        assert found["place"] == images
        assert (found["images"], found["forms"]) == (8, [[".png", 8]])
        assert found["bytes"] == sum(each.stat().st_size for each in Path(images).glob("*.png"))
        assert found["problems"] == []
        assert found["neighbors"] == 5
        assert any("notes.txt" in line for line in found["left_out"])
        assert not (tmp_path / "ws").exists()

    @pytest.mark.parametrize("what", ["check", "start"])
    def test_a_bad_place_is_told(self, home: Home, tmp_path: Path, what: str) -> None:
        (tmp_path / "empty").mkdir()
        for place, sentence in {
            str(tmp_path / "nowhere"): "does not exist",
            str(tmp_path / "empty"): "no images under",
            "s3://me:secret@bucket/photos": "holds a password",
        }.items():
            answer = home.post(what, images=place, **BUNDLED)
            document = answer.json()
            told = document["problems"][0] if answer.status_code == 200 else document["error"]
            assert (what == "start") <= (answer.status_code == 400)
            assert sentence in told
            assert "secret" not in answer.text
        assert not (tmp_path / "ws").exists()

    def test_nonsense_is_told(self, home: Home, images: str) -> None:
        for body in ({}, {"images": 3}, {"images": images, "classes": 1}, {"images": images * 99},
                     {"images": images, "more": 1}, {"images": images, "kind": "delete"},
                     {"images": ""}, {"images": images, "dump": "../x"}):  # fmt: skip
            answer = home.post("start", **{**BUNDLED, **body})
            assert answer.status_code == 400, body
            assert len(answer.json()["error"]) > 10


class TestARun:
    def test_progress_is_told_then_it_is_done(
        self, home: Home, script: Script, images: str, workspace: Workspace
    ) -> None:
        script({"stage": CORPUS}, {"said": "left out: 1 file"},
               {"stage": {**CORPUS, "done": 8, "finished": True}},
               "while not os.path.exists(order['workspace'] + '/go'): time.sleep(0.01)",
               {"end": 0, "sentence": ""})  # fmt: skip
        assert home.post("start", images=images, **BUNDLED).json()["run"]["state"] == "running"
        again = guarded(home.explorer)  # another tab, or the same after it was closed
        while not (stages := again.get("/api/home").json()["run"]["stages"]):
            pass
        while not stages[0]["finished"]:
            stages = again.get("/api/home").json()["run"]["stages"]
        assert (stages[0]["title"], stages[0]["done"], stages[0]["unit"]) == (
            "corpus images",
            8,
            "images",
        )
        assert home.look()["request"]["images"] == images
        Path(workspace.storage.uri, "go").touch()
        assert home.until("done", "failed")["said"] == ["left out: 1 file"]
        assert home.look()["request"] is None

    def test_what_is_typed_reaches_the_run(
        self, home: Home, script: Script, images: str, tmp_path: Path
    ) -> None:
        script(f"open({str(tmp_path / 'order.json')!r}, 'w').write(json.dumps(order))",
               {"end": 0, "sentence": ""})  # fmt: skip
        given = {"labels": str(Path(images).with_name("labels")), "classes": 5, "dump": "mine"}
        taxonomy = str(Path(images).with_name("taxonomy.json"))
        home.post("start", images=images, taxonomy=taxonomy, **given, **BUNDLED)
        home.until("done")
        order = json.loads((tmp_path / "order.json").read_text())
        assert (order["kind"], order["dump"]) == ("run", "mine")
        options = order["options"]
        assert options["corpus"] == {
            "images": images,
            "labels": given["labels"],
            "taxonomy": taxonomy,
        }
        assert options["clusters"] == {"classes": 5}
        assert options["neighbors"] == {"k": 5}
        assert options["features"] == {**BUNDLED, "layer": None}

    def test_times_are_known_once_the_trial_is_over(
        self, home: Home, script: Script, images: str
    ) -> None:
        """The run began before that; then all stages have a time, and what is left is told."""
        script({"stage": CORPUS}, UNTIL_STOPPED)
        home.post("start", images=images, **BUNDLED)
        running = home.explorer.running
        assert {stage.seconds for stage in running.job.run.planned} == {None}
        assert running.ordered is not None
        assert home.look()["run"]["left"] is None
        home.post("check", images=images, **BUNDLED)
        for _ in range(1200):
            if run_left := home.look()["run"]["left"]:
                break
            time.sleep(0.05)
        assert "minute" in run_left
        assert home.client.get("/api/home/estimate").json()["state"] == "known"

    def test_stopped_then_gone_on_with(self, home: Home, script: Script, images: str) -> None:
        script({"stage": CORPUS}, UNTIL_STOPPED, {"end": 130, "sentence": "interrupted"})
        home.post("start", images=images, **BUNDLED)
        assert home.post("stop").json()["run"]["state"] in ("stopping", "stopped")
        assert home.until("stopped")["sentence"] == ""
        assert home.look()["request"]["images"] == images
        script({"end": 0, "sentence": ""})
        assert home.post("resume").json()["run"]["state"] == "running"
        home.until("done")
        nothing = home.post("resume")
        assert (nothing.status_code, home.look()["run"]["state"]) == (409, "done")
        assert "nothing is left" in nothing.json()["error"]

    def test_another_server_offers_to_go_on(
        self, home: Home, script: Script, images: str, workspace: Workspace
    ) -> None:
        """The first one, and its run, were killed: nothing was tidied up."""
        script(UNTIL_STOPPED)
        home.post("start", images=images, **BUNDLED, classes="auto")
        process = home.explorer.running.job.process
        assert process is not None
        process.kill()
        home.until("failed")
        later = Home(Explorer(Workspace.at(workspace.storage.uri))).look()
        assert later["run"]["state"] == "none"
        assert later["request"]["images"] == images
        assert later["request"]["classes"] == "auto"

    @pytest.mark.parametrize(
        ("step", "sentence", "later"),
        [
            ({"end": 2, "sentence": "the taxonomy x does not exist"}, "the taxonomy x does", False),
            ({"end": 75, "sentence": "the store is away"}, "the store is away", True),
            ("os._exit(3)", "ended with exit code 3", False),
            ("os.kill(os.getpid(), 9)", "was killed by signal 9", False),
        ],
    )
    def test_why_it_failed(
        self, home: Home, script: Script, images: str, step: Any, sentence: str, later: bool
    ) -> None:
        script(step)
        home.post("start", images=images, **BUNDLED)
        run = home.until("failed")
        assert sentence in run["sentence"]
        assert run["later"] is later
        assert home.look()["request"]["images"] == images

    def test_a_second_one_has_to_wait(self, home: Home, script: Script, images: str) -> None:
        script(UNTIL_STOPPED)
        home.post("start", images=images, **BUNDLED)
        again = home.post("start", images=images, **BUNDLED)
        assert again.status_code == 409
        assert "under way" in again.json()["error"]

    def test_another_process_writes_the_workspace(
        self, home: Home, script: Script, images: str, workspace: Workspace
    ) -> None:
        script({"end": 0, "sentence": ""})
        elsewhere, writing = copy_context(), lease.writing(workspace.storage)
        elsewhere.run(writing.__enter__)
        assert "process" in home.look()["writer"]
        refused = home.post("start", images=images, **BUNDLED)
        assert refused.status_code == 409
        assert "is being written by process" in refused.json()["error"]
        assert home.look()["request"] is None
        elsewhere.run(writing.__exit__, None, None, None)
        home.post("start", images=images, **BUNDLED)
        home.until("done")


class TestWhoMay:
    ROUTES = ("check", "start", "resume", "stop")
    READ = ("/api/home/folders", "/api/home/estimate")

    def test_nobody_without_the_cookie(self, home: Home, images: str) -> None:
        home.client.cookies.clear()
        for route in self.ROUTES:
            answer = home.post(route, images=images, **BUNDLED)
            assert answer.status_code == 401
            assert images not in answer.text
        for path in ("/api/home", *self.READ, f"/api/home/folders?path={images}"):
            answer = home.client.get(path)
            assert answer.status_code == 401
            assert images not in answer.text

    def test_no_page_of_another_site(self, home: Home, images: str) -> None:
        for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"},
                        {"content-type": "text/plain"}):  # fmt: skip
            body = json.dumps({"images": images, **BUNDLED})
            given = {"content-type": "application/json", **headers}
            answer = home.client.post("/api/home/start", content=body, headers=given)
            assert answer.status_code in (403, 415)
        assert home.client.get(
            "/api/home/folders", headers={"sec-fetch-site": "same-site"}
        ).status_code == 403  # fmt: skip

    def test_nobody_on_another_machine(
        self, fixed: TestClient, images: str, tmp_path: Path
    ) -> None:
        """Not even with the token: whoever reads the network along has it."""
        for route in self.ROUTES:
            answer = fixed.post(f"/api/home/{route}", json={"images": images, **BUNDLED})
            assert answer.status_code == 403
            assert answer.json()["error"] == home_routes.FORBIDDEN
        for path in self.READ:
            assert fixed.get(path, params={"path": images}).status_code == 403
        assert fixed.get("/api/home").json()["allowed"] is False
        assert not (tmp_path / "ws").exists()
