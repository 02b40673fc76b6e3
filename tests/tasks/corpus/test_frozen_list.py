"""The list of a dump is made once; what arrives or changes later is not in it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from piles import label, photo, put

from stego_core.errors import InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.frozen_list import FrozenList, freeze_list
from tasks.options import CorpusOptions
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


def frozen(
    workspace: Workspace, folder: Path, taxonomy: Taxonomy | None = None, **options: Any
) -> FrozenList:
    return freeze_list(workspace, "d", CorpusOptions(images=str(folder), **options), taxonomy, None)


def listed(workspace: Workspace) -> dict[str, list[Any]]:
    path = f"corpus/d/{layout.LISTING_FILE}"
    return dict(tables.read_table(workspace.storage, path).to_pydict())


def test_is_made_once(workspace: Workspace, tmp_path: Path) -> None:
    images = put(tmp_path / "in", b__png=photo(), a__png=photo(), notes__txt=b"x")
    first = frozen(workspace, images)
    put(images, c__png=photo(), more__txt=b"x")
    assert frozen(workspace, images) == first
    assert listed(workspace)["path"] == ["a.png", "b.png"]
    assert first.manifest() == {
        "images_root": str(images),
        "labels_root": None,
        "taxonomy": None,
        "coco": None,
        "left_out": [
            {"kind": "other ending", "count": 1, "example": "notes.txt", "note": ".txt 1"}
        ],
        "remarks": [],
    }


def test_labels_and_what_they_mean(workspace: Workspace, tmp_path: Path) -> None:
    images, labels = put(tmp_path / "in", a__png=photo()), put(tmp_path / "l", a__png=label(0, 1))
    taxonomy = Taxonomy("t", ("sky", "road"))
    made = frozen(workspace, images, taxonomy, labels=str(labels))
    again = frozen(workspace, images, taxonomy, labels=str(labels))
    for each in (made, again):
        assert (each.taxonomy, each.coco) == (taxonomy, None)
        assert each.labels is not None
        assert each.labels.uri == str(labels)
    assert listed(workspace)["label"] == ["a.png"]


def test_one_file_lies_in_its_folder(workspace: Workspace, tmp_path: Path) -> None:
    images = put(tmp_path / "in", a__png=photo(), b__png=photo())
    assert frozen(workspace, images / "b.png").images.uri == str(images)
    assert listed(workspace)["path"] == ["b.png"]


def test_areas_of_a_coco_file_lie_beside_the_list(workspace: Workspace, tmp_path: Path) -> None:
    images = put(tmp_path / "in", a__png=photo(), b__png=photo())
    box = {"id": 1, "image_id": 7, "category_id": 5, "segmentation": [[0, 0, 2, 0, 2, 2]]}
    document = {
        "images": [{"id": 7, "file_name": "b.png", "height": 12, "width": 16}],
        "categories": [{"id": 5, "name": "car"}],
        "annotations": [box],
    }
    content = json.dumps(document).encode()
    put(tmp_path / "l", i__json=content)
    made = frozen(workspace, images, labels=str(tmp_path / "l"))
    assert made.coco == {"path": "i.json", "digest": keys.digest(content)}
    assert made.taxonomy == Taxonomy("i.json", ("car",))
    assert listed(workspace)["label"] == [None, "i.json: b.png"]
    rows = tables.read_rows(workspace.storage, f"corpus/d/{layout.COCO_FILE}", np.arange(2))
    assert rows[0]["areas"] is None
    assert json.loads(rows[1]["areas"])["drawn"] == [[0, False, [[0, 0, 2, 0, 2, 2]]]]


def test_a_name_that_is_not_utf_8(workspace: Workspace, tmp_path: Path) -> None:
    images = put(tmp_path / "in", a__png=photo())
    (images / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    frozen(workspace, images)
    assert listed(workspace)["path"] == ["a.png", "\\udcff.png"]


def test_nothing_is_written_without_an_image(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images under"):
        frozen(workspace, put(tmp_path / "in", notes__txt=b"x"))
    assert workspace.storage.names("corpus") == []
