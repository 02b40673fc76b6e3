"""New dumps with the current head: inboxes, refusals, drift, and a head trained anew."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flags import QUICK, TINY
from PIL import Image

from flows import artifacts
from flows.backfill import arrived, backfill
from flows.cli import main
from stego_core.errors import InputError
from tasks.options import ComputeOptions, CorpusOptions
from tasks.workspace import lease
from tasks.workspace.storage import Storage

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]
SIZE = (64, 64)
LOOP = ComputeOptions(executor="loop")


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A folder with a finished workspace `ws`, made from `train`; its dump has labels."""
    folder = tmp_path_factory.mktemp("backfill")
    train = make_corpus(folder / "train", 10, size=SIZE)
    main([
        "run", "--workspace", str(folder / "ws"), "--images", str(train / "images"),
        "--labels", str(train / "labels"), "--taxonomy", str(train / "taxonomy.json"),
        "--dump", "train", "--neighbors", "4", "--no-baseline", "--no-linear-probe",
        "--no-overlays", "--crf-iterations", "2", "--executor", "loop", *TINY, *QUICK,
    ])  # fmt: skip
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished folder, to change at will."""
    shutil.copytree(finished / "ws", tmp_path / "ws")
    return tmp_path


def scenes(folder: Path, make_corpus: Callable[..., Path], count: int, first: int) -> Path:
    """Images alone in a folder, as they arrive in an inbox."""
    made = make_corpus(folder.parent / f".{folder.name}", count, first=first, size=SIZE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return (made / "images").rename(folder)


def poll(place: Path, **options: Any) -> dict[str, Any]:
    return backfill(str(place / "ws"), inbox=str(place / "inbox"), compute_options=LOOP, **options)


def records(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (place / "ws").rglob("records/*.json")}


def current(place: Path) -> dict[str, Any]:
    return json.loads((place / "ws" / "current.json").read_text())


def masks(place: Path, dump: str) -> dict[str, bytes]:
    folder = place / "ws" / "masks" / current(place)["keys"]["masks"] / dump
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


class TestInbox:
    def test_every_new_folder_is_a_dump_once(
        self, place: Path, make_corpus: Callable[..., Path]
    ) -> None:
        scenes(place / "inbox" / "monday", make_corpus, 3, 100)
        scenes(place / "inbox" / "tuesday", make_corpus, 2, 200)
        (place / "inbox" / "empty").mkdir()
        (place / "inbox" / "loose.png").write_bytes(b"x")
        assert poll(place)["dumps"] == ["monday", "tuesday"]
        assert (len(masks(place, "monday")), len(masks(place, "tuesday"))) == (3, 2)
        before = records(place)
        assert poll(place) == {"dumps": [], "report": None}
        assert records(place) == before

    def test_one_that_does_not_exist_holds_nothing_new(self, place: Path) -> None:
        arguments = ["--inbox", str(place / "none"), "--executor", "loop"]
        main(["backfill", "--workspace", str(place / "ws"), *arguments])

    def test_nothing_new_needs_no_workspace(self, tmp_path: Path) -> None:
        assert poll(tmp_path)["dumps"] == []
        assert not (tmp_path / "ws").exists()

    def test_a_broken_dump_stops_no_other(
        self, place: Path, make_corpus: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        (place / "inbox" / "broken").mkdir(parents=True)
        (place / "inbox" / "broken" / "a.jpg").write_bytes(b"not an image")
        scenes(place / "inbox" / "good", make_corpus, 2, 300)
        with pytest.raises(SystemExit) as stopped:
            main([
                "backfill", "--workspace", str(place / "ws"), "--inbox", str(place / "inbox"),
                "--executor", "loop",
            ])  # fmt: skip
        assert stopped.value.code == 2
        assert "1 dumps of the inbox were not labelled: broken: " in capsys.readouterr().err
        assert len(masks(place, "good")) == 2

    def test_folders_that_still_change_are_left_alone(
        self, place: Path, make_corpus: Callable[..., Path]
    ) -> None:
        fresh = scenes(place / "inbox" / "fresh", make_corpus, 1, 400)
        assert arrived(str(place / "ws"), str(place / "inbox"), 10, {}) == []
        for path in fresh.iterdir():
            os.utime(path, (time.time() - 700, time.time() - 700))
        (found,) = arrived(str(place / "ws"), str(place / "inbox"), 10, {})
        assert found.images == str(fresh)

    @pytest.mark.parametrize("chosen", [[], ["--inbox", "in", "--images", "im"]])
    def test_either_images_or_an_inbox(
        self, place: Path, chosen: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            main(["backfill", "--workspace", str(place / "ws"), *chosen])
        assert "give either --images, a dump, or --inbox" in capsys.readouterr().err


class TestDumpsAreImmutable:
    def test_changed_files_are_refused_by_name(
        self, place: Path, make_corpus: Callable[..., Path]
    ) -> None:
        source = scenes(place / "new", make_corpus, 2, 500)
        options = CorpusOptions(images=str(source))
        backfill(str(place / "ws"), options, compute_options=LOOP)
        before = records(place)
        backfill(str(place / "ws"), options, compute_options=LOOP)
        assert records(place) == before
        Image.new("RGB", SIZE).save(source / "s500.png")
        with pytest.raises(InputError, match=r"1 of its files changed .*: s500\.png; put the old"):
            backfill(str(place / "ws"), options, compute_options=LOOP)


class TestTwoAtOnce:
    def test_the_second_waits_and_both_end(
        self, place: Path, make_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "LOOK_SECONDS", 0.2)
        source = scenes(place / "new", make_corpus, 2, 600)
        released = threading.Event()

        def hold() -> None:
            with lease.writing(Storage.at(str(place / "ws"))):
                held.set()
                released.wait(60)

        held = threading.Event()
        other = threading.Thread(target=hold)
        other.start()
        held.wait(60)
        threading.Timer(1.0, released.set).start()
        backfill(str(place / "ws"), CorpusOptions(images=str(source)), compute_options=LOOP)
        assert released.is_set()
        other.join()
        assert len(masks(place, "new")) == 2
        assert list((place / "ws" / "writers").iterdir()) == []


class TestDrift:
    def test_a_dump_unlike_the_others_is_told_once(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[dict[str, Any]] = []
        monkeypatch.setattr(artifacts, "emit_event", lambda **event: told.append(event))
        (place / "flat").mkdir()
        for number in range(20):
            shade = (250, 10 * number, 0)
            Image.new("RGB", SIZE, shade).save(place / "flat" / f"{number}.png")
        options = CorpusOptions(images=str(place / "flat"))
        for _ in range(2):
            backfill(str(place / "ws"), options, compute_options=LOOP)
        (event,) = told
        assert event["event"] == "stego.drift"
        assert event["resource"]["prefect.resource.id"].startswith("stego.workspace.")
        assert event["payload"]["dump"] == "flat"
        assert event["payload"]["workspace"] == str(place / "ws")
        assert current(place)["drift"]["flat"]["drifted"]


class TestRetrain:
    def test_a_new_head_from_all_dumps_labels_them_all(
        self, place: Path, make_corpus: Callable[..., Path]
    ) -> None:
        source = scenes(place / "more", make_corpus, 4, 700)
        backfill(str(place / "ws"), CorpusOptions(images=str(source)), compute_options=LOOP)
        before = current(place)
        main(["retrain", "--workspace", str(place / "ws"), "--executor", "loop"])
        after = current(place)
        assert after["dumps"] == ["train", "more"]
        for stage in ("head", "clusters", "masks"):
            assert after["keys"][stage] != before["keys"][stage]
        assert after["keys"]["features"] == before["keys"]["features"]
        assert after["drift"] == {}
        assert (len(masks(place, "train")), len(masks(place, "more"))) == (10, 4)
        table = place / "ws" / "neighbors" / after["neighbors"]["train"] / "train.zarr"
        manifest = json.loads((table / "manifest.json").read_text())
        assert manifest["base"] == before["neighbors"]["train"]
        again = scenes(place / "later", make_corpus, 2, 800)
        backfill(str(place / "ws"), CorpusOptions(images=str(again)), compute_options=LOOP)
        assert current(place)["keys"]["head"] == after["keys"]["head"]

    def test_of_a_dump_that_is_not_there(
        self, place: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            main(["retrain", "--workspace", str(place / "ws"), "--dumps", "none"])
        assert "no dump none; there are train" in capsys.readouterr().err
