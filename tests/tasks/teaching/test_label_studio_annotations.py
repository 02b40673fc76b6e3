"""Label Studio's JSON export: brushes and polygons of the newest annotation."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corrected import BOTTOM, LEFT, RIGHT, TOP, current_mask, require_road
from explored_workspace import CLUSTERS

from stego_core.errors import InputError, OptionError
from tasks.teaching.corrected_masks import read_masks
from tasks.teaching.point_files import ReadPoints
from tasks.workspace.workspace import Workspace

SIDE = 64


@pytest.fixture
def current(workspace: Workspace) -> np.ndarray:
    return current_mask(workspace)


@pytest.fixture
def read(workspace: Workspace, tmp_path: Path) -> Callable[..., ReadPoints]:
    def of(document: Any) -> ReadPoints:
        file = tmp_path / "given.json"
        file.write_text(json.dumps(document))
        return read_masks(workspace, str(file), ["first", "later"], CLUSTERS)

    return of


def polygon(label: str = "road", **more: Any) -> dict[str, Any]:
    """The square, in percent of the image's sides."""
    corners = [(LEFT, TOP), (RIGHT, TOP), (RIGHT, BOTTOM), (LEFT, BOTTOM)]
    points = [[100 * x / SIDE, 100 * y / SIDE] for x, y in corners]
    value = {"points": points, "polygonlabels": [label]}
    size = {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0}
    return {"type": "polygonlabels", "value": value, **size, **more}


def brush(label: str = "road") -> dict[str, Any]:
    encode = pytest.importorskip("label_studio_sdk.converter.brush").encode_rle
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[TOP:BOTTOM, LEFT:RIGHT] = 255
    runs = encode(np.repeat(mask.ravel(), 4))
    value = {"format": "rle", "rle": runs, "brushlabels": [label]}
    return {**polygon(), "type": "brushlabels", "value": value}


def task(image: str, *results: dict[str, Any], number: int = 1) -> dict[str, Any]:
    return {"id": number, "data": {"image": image}, "annotations": [{"result": list(results)}]}


@pytest.mark.parametrize("drawn", [brush, polygon])
@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=photos/of%20mine/s001.png",
        "/data/upload/12/0123abcd-s001.png",
        "s3://bucket/first/s001.png",
        "https://example.org/first/s001.png?width=64",
    ],
)
def test_results_of_images_by_their_addresses(
    read: Callable[..., ReadPoints], current: np.ndarray, address: str,
    drawn: Callable[[], dict[str, Any]],
) -> None:  # fmt: skip
    require_road(read([task(address, drawn())]), current)


def test_exported_tasks_are_known_by_their_ids(
    read: Callable[..., ReadPoints], current: np.ndarray
) -> None:
    given = task("x", polygon())
    given["data"] |= {"dump": "first", "image_id": "s001"}
    require_road(read([given]), current)


def test_the_newest_annotation_that_was_not_skipped_counts(
    read: Callable[..., ReadPoints], current: np.ndarray
) -> None:
    given = task("s001.png")
    given["annotations"] = [
        {"updated_at": "2026-01-02", "result": [polygon()]},
        {"updated_at": "2026-01-01", "result": [polygon("bridge")]},
        {"updated_at": "2026-01-03", "result": [polygon("river")], "was_cancelled": True},
    ]
    given["predictions"] = [{"result": [polygon("lake")]}]
    require_road(read([given, {"id": 2, "data": {}, "annotations": []}]), current)


def test_what_cannot_be_used_is_told_and_the_rest_learned(
    read: Callable[..., ReadPoints], current: np.ndarray
) -> None:
    box = {"type": "rectanglelabels", "value": {"rectanglelabels": ["road"]}}
    runs = {**brush(), "value": {"rle": [1, 2, 3], "brushlabels": ["road"]}}
    found = read(
        [
            task("s001.png", polygon(), box),
            task("s002.png", polygon(image_rotation=90), number=2),
            task("s003.png", polygon(original_width=32), number=3),
            task("s004.png", runs, number=4),
            task("s005.png", polygon(value={"polygonlabels": ["road"]}), number=5),
            task("unknown.png", polygon(), number=6),
            task("s005.png", {"type": "brushlabels", "value": {}}, number=7),
            {"id": 8, "data": {"image": "s005.png"}, "annotations": ["mine"]},
        ]
    )
    parts = (
        "task 1: 1 results left out, such as rectanglelabels",
        "task 2: was turned in Label Studio",
        "task 3: is 64×32, its image 64×64",
        "task 4: has a brush mask that cannot be read",
        "task 5: has a result that cannot be read",
        "task 6: there is no image 'unknown.png'",
        "task 7: has an annotation that cannot be read",
        "task 8: has an annotation that cannot be read",
    )
    assert len(found.problems) == len(parts)
    for part, problem in zip(parts, sorted(found.problems), strict=True):
        assert part in problem
    require_road(ReadPoints(found.lessons, []), current)


@pytest.mark.parametrize("document", [[{"image": "s001.png", "tag": []}], ["s001.png"], [{}]])
def test_other_lists_are_refused(read: Callable[..., ReadPoints], document: Any) -> None:
    with pytest.raises(InputError, match="is not Label Studio's export 'JSON'"):
        read(document)


def test_a_missing_decoder_is_named(
    read: Callable[..., ReadPoints], current: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = brush()
    monkeypatch.setitem(sys.modules, "label_studio_sdk.converter", None)
    with pytest.raises(OptionError, match=r"pip install 'stego-flows\[labelstudio\]'"):
        read([task("s001.png", drawn)])
