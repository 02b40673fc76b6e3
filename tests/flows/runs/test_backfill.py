"""New dumps with the current head: inboxes, refusals, drift, and a head trained anew."""

import contextvars
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flags import QUICK, TINY
from PIL import Image
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.cli.main import main
from flows.reporting import artifacts
from flows.runs import stages
from flows.runs.backfill import backfill, new_dumps
from stego_core.errors import InputError, StegoError
from tasks.options import ComputeOptions, CorpusOptions, InboxOptions
from tasks.storage.storage import Storage
from tasks.workspace import lease

pytestmark = pytest.mark.timeout(300)
SIZE = (64, 64)
LOOP = ComputeOptions(executor="loop")


@pytest.fixture(scope="module", autouse=True)
def no_heartbeats(prefect: None) -> Iterator[None]:
    """Each flow would wait up to a second for the end of its own."""
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def leave_out_the_report(patched: pytest.MonkeyPatch) -> None:
    """The page costs more than a small dump; tests/flows/runs/test_pipeline.py looks at it."""
    patched.setattr(stages, "report_flow", lambda workspace: f"{workspace}/reports")


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_the_report(monkeypatch)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], no_heartbeats: None
) -> Path:
    """A folder with a finished workspace `ws`, made from `train`; its dump has labels."""
    folder = tmp_path_factory.mktemp("backfill")
    train = make_corpus(folder / "train", 10, size=SIZE)
    with pytest.MonkeyPatch.context() as patched:
        leave_out_the_report(patched)
        main([
            "run", "--workspace", str(folder / "ws"), "--images", str(train / "images"),
            "--labels", str(train / "labels"), "--taxonomy", str(train / "taxonomy.json"),
            "--dump", "train", "--neighbors", "4", "--no-baseline", "--no-linear-probe",
            "--no-overlays", "--crf-iterations", "2", "--executor", "loop", *TINY, *QUICK,
        ])  # fmt: skip
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the finished workspace, to change at will."""
    shutil.copytree(finished / "ws", tmp_path / "ws")
    return tmp_path


@pytest.fixture(scope="module")
def polled(finished: Path, make_corpus: Callable[..., Path]) -> Path:
    """A folder with another copy, and an inbox whose two dumps it has labelled, in that order."""
    folder = finished / "polled"
    shutil.copytree(finished / "ws", folder / "ws")
    scenes(folder / "inbox" / "monday", make_corpus, 3, 100)
    scenes(folder / "inbox" / "tuesday", make_corpus, 2, 200)
    (folder / "inbox" / "empty").mkdir()
    (folder / "inbox" / "_work").mkdir()
    shutil.copy(folder / "inbox" / "monday" / "s100.png", folder / "inbox" / "_work")
    (folder / "inbox" / "loose.png").write_bytes(b"x")
    command(folder, "backfill", "--inbox", str(folder / "inbox"))
    return folder


@pytest.fixture
def copied(polled: Path, tmp_path: Path) -> Path:
    """A folder with a copy of that workspace; its inbox is the polled one."""
    shutil.copytree(polled / "ws", tmp_path / "ws")
    return tmp_path


def scenes(folder: Path, make_corpus: Callable[..., Path], count: int, first: int) -> Path:
    """Images alone in a folder, as they arrive in an inbox."""
    made = make_corpus(folder.parent / f".{folder.name}", count, first=first, size=SIZE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return (made / "images").rename(folder)


def command(place: Path, name: str, *more: str) -> None:
    main([name, "--workspace", str(place / "ws"), *more, "--executor", "loop"])


def refused(
    capsys: pytest.CaptureFixture[str], place: Path, name: str, *more: str, code: int = 2
) -> str:
    """What a command that must end with an exit code says."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        command(place, name, *more)
    assert ended.value.code == code
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    return said


def label(place: Path, images: Path) -> None:
    backfill(str(place / "ws"), CorpusOptions(images=str(images)), compute_options=LOOP)


def records(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (place / "ws").rglob("records/*.json")}


def current(place: Path) -> dict[str, Any]:
    return json.loads((place / "ws" / "current.json").read_text())


def masks(place: Path, dump: str) -> dict[str, bytes]:
    folder = place / "ws" / "masks" / current(place)["keys"]["masks"] / dump
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def status(place: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    main(["status", "--workspace", str(place / "ws"), "--json"])
    return json.loads(capsys.readouterr().out)


class TestInbox:
    def test_every_new_folder_is_a_dump(
        self, polled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = status(polled, capsys)["dumps"]
        assert {name: dump["masks"] for name, dump in found.items()} == {
            "train": 10,
            "monday": 3,
            "tuesday": 2,
        }
        assert set(masks(polled, "monday")) == {"s100.png", "s101.png", "s102.png"}
        assert list((polled / "ws" / "writers").iterdir()) == []

    def test_the_next_poll_finds_nothing(
        self, polled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = records(polled)
        command(polled, "backfill", "--inbox", str(polled / "inbox"))
        assert f"nothing new under {polled / 'inbox'}" in capsys.readouterr().err
        assert records(polled) == before

    def test_one_that_does_not_exist_holds_nothing_new(
        self, place: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command(place, "backfill", "--inbox", str(place / "none"))
        assert "nothing new under" in capsys.readouterr().err

    def test_nothing_new_needs_no_workspace(self, tmp_path: Path) -> None:
        assert (
            new_dumps(str(tmp_path / "ws"), InboxOptions(inbox=str(tmp_path / "inbox")), {}) == []
        )
        assert not (tmp_path / "ws").exists()

    @pytest.mark.usefixtures("no_report")
    def test_a_broken_dump_stops_no_other(
        self, place: Path, make_corpus: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        (place / "inbox" / "broken").mkdir(parents=True)
        (place / "inbox" / "broken" / "a.jpg").write_bytes(b"not an image")
        scenes(place / "inbox" / "good", make_corpus, 2, 300)
        said = refused(capsys, place, "backfill", "--inbox", str(place / "inbox"))
        assert "1 dumps of the inbox were not labelled: broken: none of the 1 images" in said
        assert len(masks(place, "good")) == 2

    def test_folders_that_still_change_are_left_alone(
        self, place: Path, make_corpus: Callable[..., Path]
    ) -> None:
        fresh = scenes(place / "inbox" / "fresh", make_corpus, 1, 400)
        inbox = InboxOptions(inbox=str(place / "inbox"), quiet_minutes=10, fps=3)
        assert new_dumps(str(place / "ws"), inbox, {}) == []
        for path in fresh.iterdir():
            os.utime(path, (time.time() - 700, time.time() - 700))
        (found,) = new_dumps(str(place / "ws"), inbox, {})
        assert found.fps == 3
        assert found.images == str(fresh)

    def test_a_folder_with_the_name_of_another_dump_is_warned_of(
        self, place: Path, make_corpus: Callable[..., Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        """It would never be labelled, and nobody would know."""
        scenes(place / "inbox" / "train", make_corpus, 1, 400)
        failed: dict[str, StegoError] = {}
        inbox = InboxOptions(inbox=str(place / "inbox"))
        assert new_dumps(str(place / "ws"), inbox, failed) == []
        assert failed == {}
        [line] = [line for line in caplog.messages if "dump from elsewhere" in line]
        assert line.endswith("inbox/train dump=train")

    @pytest.mark.parametrize("chosen", [[], ["--inbox", "in", "--images", "im"]])
    def test_either_images_or_an_inbox(
        self, place: Path, chosen: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        said = refused(capsys, place, "backfill", *chosen)
        assert "give either --images, a dump, or --inbox, a folder of dumps" in said

    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            (["--inbox", "in", "--labels", "l"], "--labels needs --images"),
            (["--images", "im", "--quiet-minutes", "3"], "--quiet-minutes needs --inbox"),
        ],
    )
    def test_an_option_of_the_other_is_not_passed_over(
        self, place: Path, chosen: list[str], expected: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert expected in refused(capsys, place, "backfill", *chosen)


def test_a_workspace_that_ended_with_its_clusters_labels_with_the_defaults(
    place: Path, make_corpus: Callable[..., Path], no_report: None
) -> None:
    document = current(place)
    for stage in ("masks", "scores"):
        del document["options"][stage]
        document["keys"].pop(stage, None)
    (place / "ws" / "current.json").write_text(json.dumps(document))
    label(place, scenes(place / "inbox" / "monday", make_corpus, 1, 100))
    assert len(masks(place, "monday")) == 1


class TestDumpsAreImmutable:
    @pytest.fixture
    def changed(self, polled: Path) -> Iterator[Path]:
        """The polled inbox, for a moment with another image under an old name."""
        image = polled / "inbox" / "monday" / "s101.png"
        old = image.read_bytes()
        Image.new("RGB", SIZE).save(image)
        yield polled / "inbox"
        image.write_bytes(old)

    def test_a_poll_names_what_changed(
        self, copied: Path, changed: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = records(copied)
        said = refused(capsys, copied, "backfill", "--inbox", str(changed))
        assert "monday: dump monday is immutable, and 1 of its files changed" in said
        assert "s101.png; put the old ones back" in said
        assert records(copied) == before

    def test_so_does_the_dump_by_itself(self, copied: Path, changed: Path) -> None:
        with pytest.raises(InputError, match=r"1 of its files changed .*: s101\.png; put the old"):
            label(copied, changed / "monday")

    @pytest.mark.usefixtures("no_report")
    def test_a_finished_one_again_computes_nothing(self, copied: Path, polled: Path) -> None:
        before = records(copied)
        label(copied, polled / "inbox" / "monday")
        assert records(copied) == before


@pytest.mark.usefixtures("no_report")
class TestTwoAtOnce:
    def test_the_masks_are_those_of_one_after_the_other(
        self, place: Path, polled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "LOOK_SECONDS", 0.1)
        both = threading.Barrier(2)

        def work(dump: str) -> None:
            both.wait(30)
            label(place, polled / "inbox" / dump)

        with ThreadPoolExecutor(2) as pool:
            # Prefect's settings are in the context, which threads do not inherit.
            working = [
                pool.submit(contextvars.copy_context().run, work, dump)
                for dump in ("monday", "tuesday")
            ]
            for each in working:
                each.result()
        for dump in ("monday", "tuesday"):
            assert masks(place, dump) == masks(polled, dump)
        assert set(current(place)["neighbors"]) == {"train", "monday", "tuesday"}
        assert list((place / "ws" / "writers").iterdir()) == []

    def test_without_patience_the_second_is_told(
        self, place: Path, polled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with lease.writing(Storage.at(str(place / "ws"))):
                entered.set()
                leave.wait(60)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(hold)
            assert entered.wait(30)
            more = ("--images", str(polled / "inbox" / "monday"), "--wait", "0")
            said = refused(capsys, place, "backfill", *more, code=75)
            leave.set()
        assert f"is being written by process {os.getpid()} on" in said
        assert not (place / "ws" / "corpus" / "monday").exists()


@pytest.mark.usefixtures("no_report")
class TestDrift:
    def test_a_dump_unlike_the_others_is_told_once(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told: list[dict[str, Any]] = []
        monkeypatch.setattr(artifacts, "emit_event", lambda **event: told.append(event))
        (place / "flat").mkdir()
        for number in range(20):
            shade = (250, 10 * number, 0)
            Image.new("RGB", SIZE, shade).save(place / "flat" / f"{number}.png")
        for _ in range(2):
            label(place, place / "flat")
        (event,) = told
        assert event["event"] == "stego.drift"
        assert event["resource"]["prefect.resource.id"].startswith("stego.workspace.")
        assert event["payload"]["dump"] == "flat"
        assert event["payload"]["workspace"] == str(place / "ws")
        shown = {name: dump["drift"] for name, dump in status(place, capsys)["dumps"].items()}
        assert shown["train"] is None
        assert shown["flat"]["drifted"]
        assert event["payload"]["drift"] == {
            name: shown["flat"][name] for name in ("features", "shares")
        }

    def test_small_dumps_are_measured_and_not_judged(
        self, polled: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for dump in ("monday", "tuesday"):
            shown = status(polled, capsys)["dumps"][dump]["drift"]
            assert shown["features"] is not None
            assert shown["shares"] is not None
            assert not shown["drifted"]


@pytest.mark.long
class TestRetrain:
    @pytest.mark.usefixtures("no_report")
    def test_a_new_head_from_all_dumps_labels_them_all(
        self,
        copied: Path,
        make_corpus: Callable[..., Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        before, old = current(copied), masks(copied, "monday")
        assert before["dumps"] == ["train"]
        assert set(before["drift"]) == {"monday", "tuesday"}
        command(copied, "retrain")
        after = current(copied)
        assert after["dumps"] == ["train", "monday", "tuesday"]
        for stage in ("head", "clusters", "masks"):
            assert after["keys"][stage] != before["keys"][stage]
        assert after["keys"]["features"] == before["keys"]["features"]
        assert after["drift"] == {}  # they are training dumps now
        assert set(after["scores"]) == {"train"}
        assert after["scores"]["train"] != before["scores"]["train"]
        counts = {name: dump["masks"] for name, dump in status(copied, capsys)["dumps"].items()}
        assert counts == {"train": 10, "monday": 3, "tuesday": 2}
        assert set(masks(copied, "monday")) == set(old)
        # What was compared before is not compared again; a backfill compared with `train` alone.
        for dump in ("train", "monday", "tuesday"):
            table = copied / "ws" / "neighbors" / after["neighbors"][dump] / f"{dump}.zarr"
            manifest = json.loads((table / "manifest.json").read_text())
            assert manifest["base"] == before["neighbors"][dump]
            assert [name for name, _ in manifest["inputs"]["dumps"]] == after["dumps"]

        later = scenes(copied / "later", make_corpus, 1, 800)
        label(copied, later)
        assert current(copied)["keys"] == after["keys"]
        assert len(masks(copied, "later")) == 1
        assert set(current(copied)["drift"]) == {"later"}
