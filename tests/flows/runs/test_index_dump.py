"""Indexing a dump: frames first where there are videos, then what became no image is said."""

from pathlib import Path
from typing import Any

import pytest

from flows.runs import index_dump as indexing
from flows.runs.index_dump import index_dump, report_unused_files
from stego_core.errors import InputError
from tasks.options import ComputeOptions, CorpusOptions
from tasks.workspace.workspace import Workspace

CORPUS, LOOP = CorpusOptions(images="in"), ComputeOptions(executor="loop")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in order; nothing is."""
    done: list[str] = []
    monkeypatch.setattr(indexing, "frames_flow", lambda *_: done.append("frames"))
    monkeypatch.setattr(indexing.stages, "corpus_flow", lambda *_: done.append("corpus"))
    monkeypatch.setattr(indexing, "report_unused_files", lambda *_: done.append("report"))
    return done


@pytest.mark.parametrize("clips", [True, False])
def test_frames_are_cut_where_there_are_videos(
    workspace: Workspace, steps: list[str], monkeypatch: pytest.MonkeyPatch, clips: bool
) -> None:
    monkeypatch.setattr(indexing.frames, "has_clips", lambda *_: clips)
    index_dump(workspace, "dump", CORPUS, LOOP)
    assert steps == ["frames"] * clips + ["corpus", "report"]


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "", 101 * "x"])
def test_a_name_that_cannot_be_is_refused_first(
    workspace: Workspace, steps: list[str], name: str
) -> None:
    with pytest.raises(InputError, match="dump name"):
        index_dump(workspace, name, CORPUS, LOOP)
    assert steps == []


def told(workspace: Workspace, capsys: pytest.CaptureFixture[str], **manifest: Any) -> str:
    workspace.corpus("dump").finish({"quarantined": 0, **manifest})
    report_unused_files(workspace, "dump")
    return " ".join(capsys.readouterr().err.split())


class TestUnused:
    def test_nothing_is_said_where_all_was_used(
        self, workspace: Workspace, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert told(workspace, capsys) == ""

    def test_remarks_and_the_first_that_is_broken(
        self,
        workspace: Workspace,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        rows = [{"path": "a.png", "reason": "is cut off"}, {"path": "b.png", "reason": "is empty"}]
        monkeypatch.setattr(indexing.IndexReader, "quarantine", lambda _: rows)
        monkeypatch.setattr(indexing.IndexReader, "__init__", lambda *_: None)
        said = told(workspace, capsys, quarantined=1200, remarks=["no labels lie beside it"])
        assert said == "no labels lie beside it quarantined: 1,200, the first a.png: is cut off"
