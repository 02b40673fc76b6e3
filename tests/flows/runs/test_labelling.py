"""Masks and scores of a dump: what is current afterwards, of stages that compute nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.reporting import run_record
from flows.runs import labelling, stages
from flows.runs.labelling import Labelling, clusters_from_seed, label_dump
from flows.runs.picie import PicieRecipe
from flows.runs.stages import Baselines
from stego_core.errors import OptionError
from tasks.options import ComputeOptions, MasksOptions, PicieOptions, ScoresOptions
from tasks.picie.picie_models import NetworkSpec
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

OWN = {
    "classes": 3,
    "options": {"classes": None, "seed": 0},
    "inputs": {"head": "h0", "dumps": [["a", "1"], ["b", "2"]]},
}
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

    def scores(_: Any, dump: str, clusters_key: str, baselines: Baselines, *__: Any) -> str:
        made.append(("scores", dump, clusters_key, *baselines))
        return f"scores of {clusters_key}"

    def clusters(_: Any, head_key: str, options: Any, __: Any) -> str:
        made.append(("clusters", head_key, options.classes, options.seed))
        workspace.folder(layout.clusters(f"clusters of {head_key}")).finish(OWN)
        return f"clusters of {head_key}"

    def head(_: Any, neighbors_key: str, options: Any, __: Any) -> str:
        made.append(("head", neighbors_key, options.seed))
        return f"head {options.seed}"

    def picie(_: Any, dumps: list[str], recipe: PicieRecipe, classes: int, __: Any) -> str:
        made.append(("picie", dumps, recipe.options.seed, classes))
        return f"picie {recipe.options.seed}"

    def picie_masks(_: Any, dump: str, key: str, *__: Any) -> str:
        made.append(("masks", dump, key))
        return f"masks of {key}"

    monkeypatch.setattr(labelling, "picie_flow", picie)
    monkeypatch.setattr(labelling, "picie_masks_flow", picie_masks)
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
        ("scores", "labelled", "own", identity, None),
    ]
    current = workspace.last_run()
    assert current["scores"] == {"labelled": "scores of own"}
    assert current["keys"]["baseline_masks"] == f"masks of {identity}"
    assert current["spread"] == {}  # it was of other masks


class TestPicie:
    """PiCIE stands beside the raw features where it is given."""

    def beside(self, workspace: Workspace, **scores: Any) -> Labelling:
        recipe = PicieRecipe(PicieOptions(seed=7), NetworkSpec("resnet18", "d", ""))
        return replace(of(workspace, "labelled", baseline="picie", **scores), picie=recipe)

    def test_it_learns_from_the_images_behind_the_clusters(
        self, workspace: Workspace, calls: list[Any]
    ) -> None:
        label_dump(self.beside(workspace), {"clusters": "own"})
        assert calls[3:] == [
            ("picie", ["a", "b"], 7, 3),
            ("masks", "labelled", "picie 7"),
            ("scores", "labelled", "own", "clusters of identity", "picie 7"),
        ]
        keys = workspace.last_run()["keys"]
        assert (keys["picie"], keys["picie_masks"]) == ("picie 7", "masks of picie 7")

    def test_each_seed_has_its_own(self, workspace: Workspace, calls: list[Any]) -> None:
        label_dump(self.beside(workspace, seeds="1,2"), {"clusters": "own"})
        trained = [call for call in calls if call[0] == "picie"]
        assert trained == [("picie", ["a", "b"], seed, 3) for seed in (7, 1, 2)]
        scored = [call[2:] for call in calls if call[0] == "scores"]
        assert scored[1] == ("clusters of head 1", "clusters of identity", "picie 1")

    def test_an_imported_head_has_none(self, workspace: Workspace, calls: list[Any]) -> None:
        label_dump(self.beside(workspace), {"clusters": "imported"})
        assert calls[-1] == ("scores", "labelled", "imported", None, None)


def test_the_same_scores_again_keep_their_spread(workspace: Workspace, calls: list[Any]) -> None:
    workspace.update_last_run(scores={"labelled": "scores of own"})
    label_dump(of(workspace, "labelled", baseline=False), {"clusters": "own"})
    assert workspace.last_run()["spread"] == {"labelled": {"seeds": [9]}}
    assert calls[-1] == ("scores", "labelled", "own", None, None)


def test_an_imported_head_has_no_baseline(workspace: Workspace, calls: list[Any]) -> None:
    label_dump(of(workspace, "labelled"), {"clusters": "imported"})
    assert calls[-1] == ("scores", "labelled", "imported", None, None)
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
                ("scores", "labelled", f"clusters of head {seed}", None, None),
            )
        ]
        by_seed = {str(seed): f"scores of clusters of head {seed}" for seed in (1, 2)}
        assert workspace.last_run()["spread"] == {"labelled": {"by_seed": by_seed}}

    def test_an_imported_head_has_one_only(self, workspace: Workspace, calls: list[Any]) -> None:
        with pytest.raises(OptionError, match="one seed only; leave out --seeds"):
            clusters_from_seed(of(workspace, "labelled"), "imported", 1)
        assert calls == []
