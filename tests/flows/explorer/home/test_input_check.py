"""What is told of a place before any work is spent there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archives import shards

from flows.demo.street import SCENE_CLASSES
from flows.explorer.home import input_check
from flows.explorer.home.run_request import RunRequest, Setup
from stego_core.errors import WeightsError
from tasks.workspace.workspace import Workspace

BUNDLED = {"backbone": "vit_pico_patch8_conv_64", "weights": "bundled"}


@pytest.fixture
def corpus(tmp_path: Path, make_corpus: Callable[..., Path]) -> Path:
    return make_corpus(tmp_path / "corpus", 40, size=(16, 16))


def look(workspace: Workspace, images: Path, **given: Any) -> input_check.Found:
    setup = Setup(workspace.storage.uri, given.pop("sections", {}))
    request = RunRequest(images=str(images), **{**BUNDLED, **given})
    return input_check.look(workspace, setup.order(request))


def test_enough_images_need_no_remark(workspace: Workspace, corpus: Path) -> None:
    found = look(workspace, corpus / "images")
    assert (found.images, found.videos, found.named, found.labelled) == (40, 0, 0, None)
    assert found.dump == "images"
    assert found.problems == found.remarks == found.left_out == []
    assert found.neighbors is None


def test_labels_and_their_classes(workspace: Workspace, corpus: Path) -> None:
    (corpus / "labels" / "s000.png").unlink()
    given = {"labels": str(corpus / "labels"), "taxonomy": str(corpus / "taxonomy.json")}
    found = look(workspace, corpus / "images", **given)
    assert (found.labelled, found.named) == (39, len(SCENE_CLASSES))
    assert found.problems == []


def test_all_problems_are_told_at_once(
    workspace: Workspace, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(name: str) -> None:
        raise WeightsError(f"the weights of {name} are away")

    monkeypatch.setattr("tasks.features.hub.require", away)
    given = {"taxonomy": str(corpus / "none.json"), "backbone": "", "weights": ""}
    found = look(workspace, corpus / "nowhere", **given)
    assert [each.split(" ")[-1] for each in found.problems] == ["URI", "exist", "away"]
    found = look(workspace, corpus / "images", kind="backfill", **given)
    assert len(found.problems) == 1, "a backfill takes the workspace's backbone"


def test_few_images_are_compared_with_fewer(workspace: Workspace, corpus: Path) -> None:
    for path in sorted((corpus / "images").iterdir())[20:]:
        path.unlink()
    found = look(workspace, corpus / "images")
    assert (found.images, found.neighbors, found.problems) == (20, 10, [])
    assert "compared with 10" in found.remarks[0]
    given = look(workspace, corpus / "images", sections={"neighbors": {"k": 25}})
    assert given.neighbors is None
    assert "fewer than the 25 neighbours" in given.problems[0]


def test_too_few_for_the_classes(workspace: Workspace, corpus: Path) -> None:
    for path in sorted((corpus / "images").iterdir())[1:]:
        path.unlink()
    found = look(workspace, corpus / "images")
    assert "fewer than the 16 classes" in found.problems[0]


def test_videos_alone_are_enough(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"12345")
    found = look(workspace, tmp_path / "clips")
    assert (found.images, found.videos, found.bytes, found.problems) == (0, 1, 5, [])


def test_a_name_is_taken(workspace: Workspace, corpus: Path) -> None:
    folder = workspace.corpus("images")
    folder.finish({"images_uri": str(corpus / "images"), "sequence": 0})
    assert not look(workspace, corpus / "images").name_taken
    found = look(workspace, corpus / "labels", dump="images")
    assert found.name_taken
    assert "give these another name" in found.problems[0]
    assert "must be letters" in look(workspace, corpus / "images", dump="../x").problems[0]


def test_archives_and_lists_are_not_counted_before_the_run(
    workspace: Workspace, tmp_path: Path
) -> None:
    images = shards(tmp_path / "in", 2, 3)
    size = sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
    found = look(workspace, tmp_path / "in" / "x-{000000..000002}.tar")
    assert (found.images, found.bytes, found.problems) == (0, size, [])
    assert found.remarks == ["2 archives or lists; the run counts the images in them"]
    assert "x-000002.tar cannot be read" in found.left_out[0]
    (tmp_path / "l.txt").write_text("\n".join(images))
    assert look(workspace, tmp_path / "l.txt").remarks[0].startswith("1 archive or list;")
    given = {"labels": str(tmp_path)}
    assert "KEY.seg.png" in look(workspace, tmp_path / "l.txt", **given).problems[0]
