"""A night costs the same however many dumps are there: requests, polls, pages."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flags import QUICK, TINY
from many_dumps import counting, multiply
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.cli.main import main
from flows.runs import inbox as polling
from flows.runs.inbox import CHECKED_NEWEST, CHECKED_OTHERS, dumps_to_check
from tasks.options import InboxOptions
from tasks.report import status
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

pytestmark = pytest.mark.timeout(300)
SIZE = (64, 64)


@pytest.fixture(scope="module", autouse=True)
def no_heartbeats(prefect: None) -> Iterator[None]:
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def images(folder: Path, make_corpus: Callable[..., Path], first: int) -> None:
    made = make_corpus(folder.parent / f".{folder.name}", 2, first=first, size=SIZE)
    (made / "images").rename(folder)
    for file in folder.iterdir():
        os.utime(file, (1e9, 1e9))  # as old as the copies


def night(place: Path) -> None:
    """A poll, and a backfill of what is new."""
    where = ("--workspace", str(place / "ws"), "--inbox", str(place / "inbox"))
    main(["backfill", *where, "--executor", "loop"])


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], no_heartbeats: None
) -> Path:
    """A workspace of a training dump and one night, and its inbox."""
    folder = tmp_path_factory.mktemp("nights")
    train = make_corpus(folder / "train", 8, size=SIZE)
    main([
        "run", "--workspace", str(folder / "ws"), "--images", str(train / "images"),
        "--dump", "train", "--neighbors", "4", "--no-baseline", "--no-linear-probe",
        "--crf-iterations", "0", "--executor", "loop", *TINY, *QUICK,
    ])  # fmt: skip
    (folder / "inbox").mkdir()
    images(folder / "inbox" / "night-a", make_corpus, 100)
    night(folder)
    return folder


@pytest.fixture(scope="module")
def measured(
    place: Path, make_corpus: Callable[..., Path], no_heartbeats: None
) -> dict[int, dict[str, Counter[str]]]:
    """Requests of a night and of what people look at, with 2 and with 12 dumps there."""
    found: dict[int, dict[str, Counter[str]]] = {}
    workspace = Workspace.open(str(place / "ws"))
    with pytest.MonkeyPatch.context() as patched:
        for count in (2, 12):
            multiply(place, "night-a", count)
            workspace.save_catalog()
            if count > 2:
                images(place / "inbox" / "catches-up", make_corpus, 300)
                night(place)  # writes the pages of the copies
            images(place / "inbox" / f"night-{count}", make_corpus, 200 + count)
            found[count] = {}
            with counting(patched) as found[count]["night"]:
                night(place)
            with counting(patched) as found[count]["status"]:
                status.document(Summary(workspace))
    return found


@pytest.mark.long
@pytest.mark.parametrize("part", ["night", "status"])
def test_requests_do_not_grow_with_the_dumps(
    measured: dict[int, dict[str, Counter[str]]], part: str
) -> None:
    few, many = (sum(measured[count][part].values()) for count in (2, 12))
    assert few > 10
    # Up to eight dumps of the inbox are compared with their index; the most uncertain images and
    # the newest ones come from more dumps.
    assert many <= 1.2 * few + 8 * 8 * (part == "night"), measured


def test_every_dump_has_masks_and_a_page(
    place: Path, measured: dict[int, dict[str, Counter[str]]]
) -> None:
    summary = Summary(Workspace.open(str(place / "ws")))
    assert len(summary.catalog) == 15
    assert all(summary.done("masks", dump) for dump in summary.dumps)
    pages = {path.stem for path in (place / "ws/reports/latest/dumps").iterdir()}
    assert pages == set(summary.dumps)


def test_the_catalog_is_what_the_manifests_say(
    place: Path, measured: dict[int, dict[str, Counter[str]]]
) -> None:
    workspace = Workspace.open(str(place / "ws"))
    file = place / "ws" / layout.CATALOG_FILE
    before, document = file.read_bytes(), status.document(Summary(workspace))
    file.unlink()
    assert json.dumps(status.document(Summary(workspace))) == json.dumps(document)
    workspace.save_catalog()
    assert file.read_bytes() == before


class TestPoll:
    def test_checks_the_newest_and_some_of_the_others(self) -> None:
        known = [f"d{number}" for number in range(100)]
        seen: set[str] = set()
        generator = random.Random(0)
        for _ in range(200):
            checked = dumps_to_check(known, generator)
            assert checked[-CHECKED_NEWEST:] == known[-CHECKED_NEWEST:]
            assert len(set(checked)) == len(checked) == CHECKED_NEWEST + CHECKED_OTHERS
            seen.update(checked)
        assert seen == set(known)

    @pytest.mark.parametrize("count", [0, 1, 4, 6, 8])
    def test_checks_all_of_few(self, count: int) -> None:
        known = [f"d{number}" for number in range(count)]
        assert sorted(dumps_to_check(known, random.Random(0))) == known

    def test_looks_at_no_more_dumps(
        self,
        place: Path,
        measured: dict[int, dict[str, Counter[str]]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        checked: list[Any] = []
        monkeypatch.setattr(polling, "check_unchanged", lambda _, dump: checked.append(dump))
        inbox = InboxOptions(inbox=str(place / "inbox"), quiet_minutes=0)
        assert polling.new_dumps(str(place / "ws"), inbox, {}) == []
        assert len(checked) == CHECKED_NEWEST + CHECKED_OTHERS
        assert checked[-1] == "night-12"

    def test_status_checks_all_where_it_is_asked_to(
        self,
        place: Path,
        measured: dict[int, dict[str, Counter[str]]],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        main(["status", "--workspace", str(place / "ws"), "--changed"])
        file = place / "inbox" / "copy-005" / "s100.png"
        content = file.read_bytes()
        file.write_bytes((place / "inbox" / "copy-005" / "s101.png").read_bytes())
        try:
            with pytest.raises(SystemExit) as ended:
                main(["status", "--workspace", str(place / "ws"), "--changed"])
        finally:
            file.write_bytes(content)
            os.utime(file, (1e9, 1e9))
        assert ended.value.code == 2
        assert "dump copy-005 is immutable" in " ".join(capsys.readouterr().err.split())
