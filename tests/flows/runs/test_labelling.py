"""Masks and scores of a dump: what is current afterwards, of stages that compute nothing."""

from pathlib import Path
from typing import Any

import pytest

from flows.reporting import run_record
from flows.runs import labelling, stages
from flows.runs.labelling import Labelling, clusters_from_seed, label_dump
from stego_core.errors import OptionError
from tasks.options import ComputeOptions, MasksOptions, ScoresOptions
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

OWN = {"classes": 3, "options": {"classes": None, "seed": 0}, "inputs": {"head": "h0"}}
IMPORTED = {"classes": 3, "imported": {"file": "x.ckpt"}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(str(tmp_path / "ws"))
    made.corpus("labelled").finish({"labelled": 2})
    made.corpus("bare").finish({"labelled": 0})
    made.folder(layout.clusters("own")).finish(OWN)
    made.folder(layout.clusters("imported")).finish(IMPORTED)
    made.folder(layout.head("h0")).finish({"options": {"seed": 0}, "inputs": {"neighbors": "n0"}})
    made.update_last_run(keys={"head": "h0"}, scores={}, spread={"labelled": {"seeds": [9]}})
    return made


@pytest.fixture
def calls(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Calls of the stages' flows: each returns a key that tells what it was made of."""
    made: list[tuple[Any, ...]] = []

    def masks(_: Any, dump: str, clusters_key: str, *__: Any) -> str:
        made.append(("masks", dump, clusters_key))
        return f"masks of {clusters_key}"

    def scores(_: Any, dump: str, clusters_key: str, baseline: str | None, *__: Any) -> str:
        made.append(("scores", dump, clusters_key, baseline))
        return f"scores of {clusters_key}"

    def clusters(_: Any, head_key: str, options: Any, __: Any) -> str:
        made.append(("clusters", head_key, options.classes, options.seed))
        workspace.folder(layout.clusters(f"clusters of {head_key}")).finish(OWN)
        return f"clusters of {head_key}"

    def head(_: Any, neighbors_key: str, options: Any, __: Any) -> str:
        made.append(("head", neighbors_key, options.seed))
        return f"head {options.seed}"

    for flow in (masks, scores, clusters, head):
        monkeypatch.setattr(stages, f"{flow.__name__}_flow", flow)
    monkeypatch.setattr(stages, "trained_rows", lambda *_: "rows")
    monkeypatch.setattr(labelling, "spread_over_seeds", lambda *given: {"by_seed": given[2]})
    return made


def of(workspace: Workspace, dump: str, **scores: Any) -> Labelling:
    loop = ComputeOptions(executor="loop")
    return Labelling(workspace, dump, MasksOptions(), ScoresOptions(**scores), loop)


def test_a_dump_without_labels_has_masks_alone(workspace: Workspace, calls: list[Any]) -> None:
    keys = {"clusters": "own"}
    with run_record.recorded("run", "ws") as run:
        label_dump(of(workspace, "bare"), keys)
    assert calls == [("masks", "bare", "own")]
    assert run.dumps == ["bare"]
    assert keys == {"clusters": "own", "masks": "masks of own"}
    assert workspace.last_run()["keys"] == {"head": "h0", **keys}
    assert workspace.last_run()["scores"] == {}


def test_scores_stand_beside_those_of_the_baseline(workspace: Workspace, calls: list[Any]) -> None:
    label_dump(of(workspace, "labelled"), {"clusters": "own"})
    identity = "clusters of identity"
    assert calls == [
        ("masks", "labelled", "own"),
        ("clusters", "identity", 3, 0),
        ("masks", "labelled", identity),
        ("scores", "labelled", "own", identity),
    ]
    current = workspace.last_run()
    assert current["scores"] == {"labelled": "scores of own"}
    assert current["keys"]["baseline_masks"] == f"masks of {identity}"
    assert current["spread"] == {}  # it was of other masks


def test_the_same_scores_again_keep_their_spread(workspace: Workspace, calls: list[Any]) -> None:
    workspace.update_last_run(scores={"labelled": "scores of own"})
    label_dump(of(workspace, "labelled", baseline=False), {"clusters": "own"})
    assert workspace.last_run()["spread"] == {"labelled": {"seeds": [9]}}
    assert calls[-1] == ("scores", "labelled", "own", None)


def test_an_imported_head_has_no_baseline(workspace: Workspace, calls: list[Any]) -> None:
    label_dump(of(workspace, "labelled"), {"clusters": "imported"})
    assert calls[-1] == ("scores", "labelled", "imported", None)
    assert len(calls) == 2


class TestSeeds:
    def test_each_trains_head_and_clusters_anew(
        self, workspace: Workspace, calls: list[Any]
    ) -> None:
        label_dump(of(workspace, "labelled", baseline=False, seeds="1,2"), {"clusters": "own"})
        assert calls[2:] == [
            call
            for seed in (1, 2)
            for call in (
                ("head", "n0", seed),
                ("clusters", f"head {seed}", None, seed),
                ("masks", "labelled", f"clusters of head {seed}"),
                ("scores", "labelled", f"clusters of head {seed}", None),
            )
        ]
        by_seed = {str(seed): f"scores of clusters of head {seed}" for seed in (1, 2)}
        assert workspace.last_run()["spread"] == {"labelled": {"by_seed": by_seed}}

    def test_an_imported_head_has_one_only(self, workspace: Workspace, calls: list[Any]) -> None:
        with pytest.raises(OptionError, match="one seed only; leave out --seeds"):
            clusters_from_seed(of(workspace, "labelled"), "imported", 1)
        assert calls == []
