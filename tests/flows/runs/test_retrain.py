"""A head trained anew: on which dumps, from which options, and what is labelled afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.runs import retrain as retraining
from flows.runs.retrain import retrain
from stego_core.errors import InputError, OptionError, WorkspaceError
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three dumps of which one was trained on."""
    made = Workspace.create(str(tmp_path / "ws"))
    for sequence, dump in enumerate(("first", "second", "third")):
        made.corpus(dump).finish({"sequence": sequence, "labelled": 0})
    made.folder(layout.clusters("old")).finish({"backbone": {"name": "vit", "layer": 12}})
    options = {"head": {"steps": 7}, "masks": {"crf_iterations": 0}}
    made.update_last_run(keys={"clusters": "old"}, options=options, dumps=["first"])
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is trained and labelled; nothing is computed."""
    made: dict[str, Any] = {"labelled": []}

    @contextmanager
    def session(workspace: str, *_: Any) -> Iterator[Workspace]:
        yield Workspace.open(workspace)

    def train(_: Any, dumps: list[str], options: Any, backbone: Any) -> Any:
        made.update(trained=dumps, options=options, backbone=backbone)
        return {"clusters": "new"}, dict.fromkeys(dumps, "table")

    def label(labelling: Any, keys: dict[str, str]) -> None:
        made["labelled"].append((labelling.dump, keys["clusters"], labelling.masks.crf_iterations))

    def make_current(_: Any, keys: Any, tables: Any, options: Any) -> None:
        made.update(current=(keys, list(tables)))

    monkeypatch.setattr(retraining, "session", session)
    monkeypatch.setattr(retraining, "train", train)
    monkeypatch.setattr(retraining, "make_current", make_current)
    monkeypatch.setattr(retraining, "label_dump", label)
    monkeypatch.setattr(retraining.stages, "report_flow", lambda _: "ws/reports")
    monkeypatch.setattr(retraining.artifacts, "run_pages", lambda *_: None)
    return made


def test_all_dumps_with_the_options_of_the_last_run(
    workspace: Workspace, calls: dict[str, Any]
) -> None:
    outcome = retrain.fn(workspace.storage.uri)
    assert outcome == {"keys": {"clusters": "new"}, "report": "ws/reports"}
    assert calls["trained"] == ["first", "second", "third"]
    assert calls["options"].head.steps == 7
    assert calls["backbone"] == {"name": "vit", "layer": 12}  # the one that made the features
    assert calls["current"] == ({"clusters": "new"}, ["first", "second", "third"])
    assert calls["labelled"] == [(dump, "new", 0) for dump in ("first", "second", "third")]


def test_other_clusters_than_the_last_run_had(workspace: Workspace, calls: dict[str, Any]) -> None:
    retrain.fn(workspace.storage.uri, classes=9)
    assert calls["options"].clusters.classes == 9
    retrain.fn(workspace.storage.uri)
    assert calls["options"].clusters.classes is None
    with pytest.raises(OptionError, match="classes"):
        retrain.fn(workspace.storage.uri, classes=1)


def test_some_dumps_in_order_of_arrival(workspace: Workspace, calls: dict[str, Any]) -> None:
    retrain.fn(workspace.storage.uri, dumps=["third", "first"])
    assert calls["trained"] == ["first", "third"]
    assert [dump for dump, *_ in calls["labelled"]] == ["first", "second", "third"]


def test_nothing_is_labelled_where_only_later_dumps_shall_be(
    workspace: Workspace, calls: dict[str, Any]
) -> None:
    retrain.fn(workspace.storage.uri, relabel=False)
    assert calls["trained"] == ["first", "second", "third"]
    assert calls["labelled"] == []


def test_a_dump_that_is_not_there(workspace: Workspace, calls: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no dump none; there are first, second, third"):
        retrain.fn(workspace.storage.uri, dumps=["first", "none"])
    assert "trained" not in calls


def test_before_the_first_run(tmp_path: Path, calls: dict[str, Any]) -> None:
    empty = Workspace.create(str(tmp_path / "empty"))
    with pytest.raises(WorkspaceError, match="run `stego run` first"):
        retrain.fn(empty.storage.uri)
    assert "trained" not in calls
