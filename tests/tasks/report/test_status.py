"""The document of the status: of an empty workspace, and of one with masks and classes."""

from pathlib import Path

import pytest
from labelled import CLUSTERS_KEY, MASKS_KEY, NAMES, add_dump, blobs, save_photo, workspace_at

from tasks.class_names import classes_file
from tasks.report import status
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three images of a dump, one without a mask, beside a broken and a foreign file."""
    for name in ("a", "b", "unusable"):
        save_photo(tmp_path / "day" / f"{name}.png", (8, 12))
    (tmp_path / "day" / "broken.png").write_bytes(b"not an image")
    (tmp_path / "day" / "notes.txt").write_text("mine")
    workspace = workspace_at(str(tmp_path / "ws"))
    add_dump(workspace, "day", tmp_path / "day", {name: blobs(1, 8, 12) for name in "ab"})
    return workspace


def test_an_empty_workspace_has_nothing(tmp_path: Path) -> None:
    document = status.document(Summary(Workspace.create(str(tmp_path / "ws"))))
    assert not any(document["stages"].values())
    assert document["counts"] == {"images": 0, "masks": 0, "classes": 0}
    assert (document["dumps"], document["scores"], document["quarantine"]) == ({}, {}, [])
    assert (document["classes"], document["revision"], document["backbone"]) == ([], 0, None)


def test_a_dump_with_masks(workspace: Workspace) -> None:
    document = status.document(Summary(workspace))
    assert document["stages"] == {
        "corpus": True, "head": False, "clusters": True, "features": False, "neighbors": False,
        "masks": True, "scores": False,
    }  # fmt: skip
    assert document["counts"] == {"images": 3, "masks": 2, "classes": len(NAMES)}
    assert document["keys"] == {"masks": MASKS_KEY, "clusters": CLUSTERS_KEY}
    dump = document["dumps"]["day"]
    assert (dump["images"], dump["labelled"], dump["quarantined"], dump["masks"]) == (3, 0, 1, 2)
    assert dump["megapixels"] == pytest.approx(3 * 8 * 12 / 1e6, abs=1e-3)
    assert [(kind["kind"], kind["count"]) for kind in dump["left_out"]] == [("other ending", 1)]
    assert {row["path"] for row in document["quarantine"]} == {"broken.png", "unusable.png"}


def test_classes_are_those_that_people_made(workspace: Workspace) -> None:
    classes = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, classes.ignoring([4]).edited(0, "house"), "for a test")
    document = status.document(Summary(workspace))
    assert (document["revision"], document["counts"]["classes"]) == (1, len(NAMES) - 1)
    assert document["classes"][0] == "house"


def test_a_stage_is_done_when_all_dumps_are(workspace: Workspace, tmp_path: Path) -> None:
    save_photo(tmp_path / "night" / "a.png", (8, 12))
    add_dump(workspace, "night", tmp_path / "night", {"a": blobs(1, 8, 12)})
    assert status.document(Summary(workspace))["stages"]["masks"]
    workspace.storage.remove(f"masks/{MASKS_KEY}/night/manifest.json")
    document = status.document(Summary(workspace))
    assert not document["stages"]["masks"]
    assert document["dumps"]["day"]["stages"]["masks"]


def test_scores_are_the_known_figures_of_labelled_dumps(workspace: Workspace) -> None:
    workspace.update_last_run(scores={"day": "scores-key"})
    scores = {"miou": 41.5, "per_class": {"road": 41.5}, "another": 1.0}
    workspace.folder("scores", "scores-key", "day").finish(
        {"scores": scores, "confusion": {"stego": [[1] * 5]}, "classes": ["road"],
         "matching": {"stego": [0, -1, -1, -1, -1]}}
    )  # fmt: skip
    document = status.document(Summary(workspace))
    figures = document["scores"]["day"]
    assert set(figures) == set(status.SCORE_NAMES)
    assert (figures["miou"], figures["accuracy"]) == (41.5, None)
    assert document["stages"]["scores"]
