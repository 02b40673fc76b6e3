"""Commands of whole pipelines: what they hand to the flows, and what they show afterwards."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.benchmark import paper
from flows.cli import commands
from flows.cli.main import main
from flows.runs import backfill, pretrain, retrain
from stego_core.errors import WeightsError

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the flows of backfill and retrain were called with; nothing runs."""
    calls: list[Any] = []

    def flow(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        return {"report": None, "dumps": []}

    monkeypatch.setattr(backfill, "backfill", flow)
    monkeypatch.setattr(retrain, "retrain", flow)
    monkeypatch.setattr(commands, "_results", lambda *_: None)
    return calls


def test_dumps_of_a_retrain_are_a_list(own: str, given: list[Any]) -> None:
    main(["retrain", "--workspace", own, "--dumps", "first, later"])
    main(["retrain", "--workspace", own])
    assert [call[1] for call in given] == [["first", "later"], None]


def test_a_retrain_may_be_told_how_many_clusters(own: str, given: list[Any]) -> None:
    for classes in ("9", "auto"):
        main(["retrain", "--workspace", own, "--classes", classes])
    main(["retrain", "--workspace", own])
    assert [call[3] for call in given] == [9, "auto", None]


def test_an_inbox_with_nothing_new(own: str, given: list[Any], capsys: Captured) -> None:
    main(["backfill", "--workspace", own, "--inbox", "in/box"])
    assert "nothing new under in/box" in capsys.readouterr().err
    _, images, dump, inbox, *_ = given[0]
    assert (images, dump, inbox.inbox) == (None, None, "in/box")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--images", "in"),
        ("pretrain", "--images", "in", "--weights", "timm"),
    ],
)
def test_weights_that_cannot_be_had_are_told_before_a_flow_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    arguments: tuple[str, ...],
) -> None:
    def missing(backbone: str) -> None:
        raise WeightsError(f"no weights of {backbone} are here")

    monkeypatch.setattr(commands.hub, "require", missing)
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--workspace", str(tmp_path / "ws")])
    assert ended.value.code == 2
    assert "no weights of " in " ".join(capsys.readouterr().err.split())


def test_a_benchmark_without_its_data_starts_no_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(paper, "benchmark", None)
    where = ("--workspace", str(tmp_path / "ws"), "--data", str(tmp_path))
    for name in ("potsdam3", "nonsense"):
        with pytest.raises(SystemExit) as ended:
            main(["benchmark", name, *where])
        assert ended.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_backbone_of_one_s_own_says_how_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    outcome = {
        "backbone": "vit", "weights": "ws/backbone.safetensors", "loss": 1.5, "entropy": 2.25,
        "quality": {"agreement": 0.5, "rank": 7.0}, "collapsed": True,
    }  # fmt: skip
    monkeypatch.setattr(pretrain, "pretraining", lambda *_: outcome)
    main(["pretrain", "--workspace", str(tmp_path / "ws"), "--images", "in", "--weights", "w.pth"])
    said = capsys.readouterr()
    assert "use it: stego run --backbone vit --weights ws/backbone.safetensors ..." in said.out
    assert "loss 1.500, teacher entropy 2.25, agreement 0.50, effective rank 7.0" in said.out
    assert "the teacher has collapsed" in said.err


def test_files_that_came_later_are_warned_of(
    tmp_path: Path, make_corpus: Callable[..., Path], made: Path, capsys: Captured
) -> None:
    image = next((made / "b" / "images").glob("*.png"))
    late = made / "b" / "images" / "late.png"
    shutil.copy(image, late)
    try:
        commands._results(str(made / "ws"), "ws/reports/latest", ["later"])
    finally:
        late.unlink()
    said = capsys.readouterr()
    warned = " ".join(said.err.split())
    assert "1 files beside dump later came later and are not in it (late.png, …)" in warned
    assert "dump first" not in warned
    assert "report: ws/reports/latest" in said.out
    assert "values later: " in said.out
    assert "values first: " not in said.out
