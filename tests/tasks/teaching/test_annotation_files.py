"""Files of annotation tools: what images are called in them, and COCO files of corrections."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corrected import BOTTOM, LEFT, RIGHT, TOP, current_mask, require_road
from explored_workspace import CLUSTERS

from stego_core.errors import InputError
from tasks.teaching.annotation_files import calls_of, drawn_regions
from tasks.teaching.corrected_masks import read_masks
from tasks.teaching.point_files import ReadPoints
from tasks.workspace.workspace import Workspace


def coco(**changed: Any) -> dict[str, Any]:
    square = [LEFT, TOP, RIGHT, TOP, RIGHT, BOTTOM, LEFT, BOTTOM]
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [square], "iscrowd": 0}
    image = {"id": 7, "file_name": "images/first/s001.png", "width": 64, "height": 64}
    untouched = {"id": 8, "file_name": "s002.png", "width": 64, "height": 64}
    return {
        "images": [image, untouched], "annotations": [annotation],
        "categories": [{"id": 3, "name": "road"}, {"id": 9, "name": "background"}], **changed,
    }  # fmt: skip


def read(workspace: Workspace, tmp_path: Path, content: str) -> Any:
    (tmp_path / "given.json").write_text(content)
    return read_masks(workspace, str(tmp_path / "given.json"), ["first", "later"], CLUSTERS)


def test_a_coco_file_teaches_what_was_drawn(workspace: Workspace, tmp_path: Path) -> None:
    current = current_mask(workspace)
    found = read(workspace, tmp_path, json.dumps(coco()))
    require_road(found, current)


def test_boxes_are_told(workspace: Workspace, tmp_path: Path) -> None:
    current, given = current_mask(workspace), coco()
    given["annotations"] += [{"id": 2, "image_id": 8, "category_id": 3, "bbox": [1, 1, 9, 9]}]
    found = read(workspace, tmp_path, json.dumps(given))
    assert found.problems == ["s002.png: 1 annotations left out, as they have no segmentation"]
    require_road(ReadPoints(found.lessons, []), current)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "given.json is not JSON"),
        ("{}", "are not a COCO file"),
        (json.dumps(coco(annotations=[])), "no annotation"),
        (json.dumps(coco(images=[{"id": 7, "file_name": "x.png"}])), "there is no image 'x.png'"),
    ],
)
def test_files_without_a_use_are_refused(
    workspace: Workspace, tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(workspace, tmp_path, content)


def test_a_taxonomy_is_for_folders_alone(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"classes": ["road"]}')
    (tmp_path / "given.json").write_text(json.dumps(coco()))
    files = str(tmp_path / "given.json"), str(tmp_path / "own.json")
    with pytest.raises(InputError, match="names its classes itself"):
        read_masks(workspace, files[0], ["first"], CLUSTERS, files[1])


def test_calls_go_from_the_whole_path_to_the_name() -> None:
    assert calls_of("images/night/a.b/c.jpg.png") == [
        ("images/night/a.b/c.jpg.png", None), ("images/night/a.b/c.jpg", None),
        ("night/a.b/c.jpg.png", "images"), ("night/a.b/c.jpg.png", None),
        ("night/a.b/c.jpg", "images"), ("night/a.b/c.jpg", None),
        ("a.b/c.jpg.png", "night"), ("a.b/c.jpg.png", None),
        ("a.b/c.jpg", "night"), ("a.b/c.jpg", None),
        ("c.jpg.png", "a.b"), ("c.jpg.png", None), ("c.jpg", "a.b"), ("c.jpg", None),
    ]  # fmt: skip


def test_later_regions_lie_on_top() -> None:
    whole, square = ("a", lambda size: np.ones(size, bool)), ("b", lambda s: np.eye(*s, dtype=bool))
    names, ids = drawn_regions([whole, square, ("a", lambda s: np.zeros(s, bool))], (2, 2))
    assert names == ["a", "b"]
    assert ids.tolist() == [[1, 0], [0, 1]]
