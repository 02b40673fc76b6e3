"""What the UI shows: keys, tables that are not cut in silence, links that a browser opens."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.reporting import artifacts, links, run_record
from flows.reporting.artifacts import key
from tasks.engine import progress
from tasks.engine.progress import Event, Progress
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

NAMES = [
    "day-1",
    "day 1",
    "Day_1",
    "日曜日",
    "月曜日",
    "ночь",
    "день",
    "été",
    "ete",
    "😀",
    "😁",
    "",
    "-",
]


class TestKeys:
    def test_differ_for_every_dump_of_every_workspace(self) -> None:
        places = ["/data/ws", "/other/ws", "s3://bucket/ws", "ws"]
        kinds = ["corpus", "quarantine", "scores"]
        found = [key(kind, place, name) for kind in kinds for place in places for name in NAMES]
        assert len(set(found)) == len(found)
        assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each) for each in found)

    def test_can_be_read(self) -> None:
        assert key("scores", "/data/ws", "day 1").startswith("scores-ws-day-1-")
        assert key("scores", "/data/ws", "ночь").startswith("scores-ws-noch-")
        assert len(key("scores", "/data/" + "w" * 500, "d" * 500)) < 100

    def test_stay_the_same(self) -> None:
        assert key("scores", "/data/ws", "day") == key("scores", "/data/ws", "day")


class TestQuarantine:
    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []
        monkeypatch.setattr(artifacts, "create_table_artifact", lambda *given: calls.append(given))
        return calls

    @pytest.mark.parametrize(("count", "shown"), [(1, 1), (201, 201), (5000, 5000), (5003, 5001)])
    def test_is_whole_or_says_how_many_more(
        self, made: list[tuple[Any, ...]], count: int, shown: int
    ) -> None:
        rows = [{"path": f"{n}.png", "reason": "broken"} for n in range(count)]
        artifacts.quarantine_table(rows, "key", f"{count} files could not be used", "/ws/corpus")
        ((table, _, sentence),) = made
        assert len(table) == shown
        if shown < count:
            assert table[-1] == {"path": "…", "reason": "and 3 more: see /ws/corpus"}
            assert "the other 3 are listed at /ws/corpus" in sentence


class Future:
    def result(self, timeout: float) -> None:
        return None


class TestProgress:
    @pytest.fixture
    def bar(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
        moves: list[tuple[float, str]] = []
        monkeypatch.setattr(
            artifacts,
            "create_progress_artifact",
            lambda share, _, text: moves.append((share, text)),
        )
        monkeypatch.setattr(
            artifacts,
            "update_progress_artifact",
            lambda _, progress, description: moves.append((progress, description)),
        )
        return moves

    def test_a_short_stage_ends_whole(self, bar: list[tuple[float, str]]) -> None:
        artifacts.follow("ws", Progress("masks day", 38, "images"), [Future()])  # type: ignore[list-item]
        assert bar == [
            (0.0, "masks day: 0 of 38 images are done."),
            (100.0, "masks day: 38 of 38 images are done."),
        ]

    def test_another_stage_of_its_title_does_not_move_it(
        self, bar: list[tuple[float, str]]
    ) -> None:
        class Telling(Future):
            def __init__(self) -> None:
                self.times = 0

            def result(self, timeout: float) -> None:
                self.times += 1
                progress.announce(Event("head", 7, 9, "steps", stage="another run's"))
                if self.times < 3:
                    raise TimeoutError

        artifacts.follow("ws", Progress("head", 9, "steps"), [Telling()])  # type: ignore[list-item]
        assert [share for share, _ in bar] == [0.0, 100.0]


class TestLinks:
    def test_of_a_folder(self, tmp_path: Path) -> None:
        place = Workspace.create(str(tmp_path / "my ws"))
        page = place.storage.full("reports/latest/index.html")
        assert links.address(place, page) is None
        sentence = links.sentence(place, page)
        assert "file://" not in sentence
        assert f"python3 -m webbrowser '{page}'" in sentence

    def test_of_a_server_that_shows_it(self, tmp_path: Path) -> None:
        place = Workspace.create(str(tmp_path / "ws"))
        page = place.storage.full("reports/latest/index.html")
        with run_record.recorded("run", str(tmp_path)) as run:
            run.report_url = "https://reports.example.org/ws/"
            found = links.address(place, page)
        assert found == ("https://reports.example.org/ws/reports/latest/index.html", "")

    def test_of_a_bucket_is_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tasks.storage import s3

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-key")
        with s3.connected(s3.Service("http://127.0.0.1:9", "us-east-1")):
            place = Workspace(Storage.at("s3://bucket/ws"))
            found = links.address(place, "s3://bucket/ws/reports/latest/index.html")
        assert found is not None
        url, remark = found
        assert url.startswith("http://127.0.0.1:9/bucket/ws/reports/latest/index.html?")
        assert "ignature=" in url
        assert "text%2Fhtml" in url
        assert "hidden-key" not in url
        assert "expires after 7 days" in remark


class TestForm:
    def test_begins_with_the_images(self) -> None:
        from flows.runs.pipeline import pipeline

        fields = sorted(pipeline.parameters.properties.items(), key=lambda f: f[1]["position"])
        assert [name for name, _ in fields][:2] == ["images", "workspace"]

    def test_older_parameters_are_taken_too(self) -> None:
        from flows.runs.pipeline import corpus_of, pipeline

        given = {"workspace": "ws", "options": {"corpus": {"images": "imgs", "fps": 2}}}
        options = pipeline.validate_parameters(given)["options"]
        corpus = corpus_of(options.corpus, images=None, labels="labels")
        assert (corpus.images, corpus.fps, corpus.labels) == ("imgs", 2, "labels")
        assert corpus_of(options.corpus, images="others").images == "others"

    @pytest.mark.parametrize(
        "name", ["pipeline", "backfill", "retrain", "pretraining", "benchmark"]
    )
    def test_descriptions_are_whole_sentences(self, name: str) -> None:
        from flows.benchmark import paper
        from flows.runs import backfill, pipeline, pretrain, retrain

        modules = (pipeline, backfill, retrain, pretrain, paper)
        flow = next(getattr(m, name) for m in modules if hasattr(getattr(m, name, None), "fn"))
        for field, schema in flow.parameters.properties.items():
            assert re.match(r"^[A-Z].*\.$", schema["description"], re.DOTALL), field
            assert len(schema["description"].split()) > 3, field
