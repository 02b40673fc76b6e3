"""COCO files: polygons, run lengths, categories, and what is refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as packing
from three_images import H, W, ids, indexed

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus.changed_files import check_unchanged
from tasks.files.left_out import LeftOutCounts
from tasks.labels.coco_labels import CategoryMeaning, CocoFile, rasterise
from tasks.workspace.workspace import Workspace


def document(*annotations: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "sub/a.png", "height": H, "width": W},
                   {"id": 8, "file_name": "gone.png", "height": H, "width": W}],
        "categories": [{"id": 5, "name": "car"}, {"id": 2, "name": "road"}],
        "annotations": [{"id": n, "image_id": 7, **each} for n, each in enumerate(annotations)],
        **keys,
    }  # fmt: skip


BOX = {"category_id": 5, "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]}


def packed(rows: slice) -> dict[str, Any]:
    mask = np.zeros((H, W), np.uint8, order="F")
    mask[rows] = 1
    found = packing.encode(mask)
    return {"size": found["size"], "counts": found["counts"].decode()}


class TestCoco:
    def meaning(self, file: CocoFile, given: Taxonomy | None = None) -> CategoryMeaning:
        return CategoryMeaning.of(file, given, LeftOutCounts())

    def test_polygons_run_lengths_and_crowds(self, tmp_path: Path) -> None:
        crowd = {"category_id": 2, "iscrowd": 1, "segmentation": packed(slice(0, 4))}
        counts = {"size": [H, W], "counts": [5, 1] + [5, 1] * (W - 1)}
        row = {"category_id": 2, "segmentation": counts}
        content = json.dumps(document(BOX, crowd, row)).encode()
        reader = indexed(tmp_path, {"instances.json": content})
        found = ids(reader, 0)
        expected = np.full((H, W), -1)
        expected[:4], expected[5] = 0, 0  # road has the smaller id
        expected[1:4, 2:6] = 1
        assert found.tolist() == expected.tolist()
        assert reader.taxonomy().classes == ("road", "car")
        assert reader.manifest["labelled"] == 1
        told = LeftOutCounts.of(reader.manifest)
        assert {kind: each.count for kind, each in told.kinds.items()} == {
            "orphan label": 1, "unlisted": 2,
        }  # fmt: skip
        assert "are void" in told.remarks[0]

    def test_another_file_under_the_same_name_is_refused(self, tmp_path: Path) -> None:
        indexed(tmp_path, {"i.json": json.dumps(document(BOX)).encode()})
        (tmp_path / "labels/i.json").write_text(json.dumps(document(BOX, BOX)))
        with pytest.raises(InputError, match=r"1 of its files changed .*: i\.json"):
            check_unchanged(Workspace.open(str(tmp_path / "ws")), "d")

    def test_names_of_the_taxonomy_and_its_background(self) -> None:
        file = CocoFile.parse(json.dumps(document(BOX)).encode(), "i.json")
        names = Taxonomy("t", ("background", "Car", "road"))
        meaning = self.meaning(file, names)
        assert meaning.classes == {2: 2, 5: 1}
        areas = meaning.areas(file.images[0], file)
        assert areas is not None
        assert np.unique(rasterise(areas, (H, W))).tolist() == [0, 1]

    def test_a_category_that_the_taxonomy_lacks(self) -> None:
        file = CocoFile.parse(json.dumps(document(BOX)).encode(), "i.json")
        with pytest.raises(InputError, match=r"has no class 'road', a category of i\.json"):
            self.meaning(file, Taxonomy("t", ("car", "sky", "tree")))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (document(), "lists 2 images and 2 categories but no annotation"),
            (document({"category_id": 5, "bbox": [0, 0, 1, 1]}), "boxes alone label no pixel"),
            (document({"segments_info": [], "file_name": "a.png"}), "panoptic"),
            ({"images": []}, "are not a COCO file"),
            ([1], "are not a COCO file"),
        ],
    )
    def test_files_that_label_nothing(self, content: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            CocoFile.parse(json.dumps(content).encode(), "i.json")

    def test_too_many_categories(self) -> None:
        many = [{"id": n, "name": str(n)} for n in range(1203)]
        file = CocoFile.parse(json.dumps(document(BOX, categories=many)).encode(), "lvis.json")
        with pytest.raises(InputError, match=r"lvis\.json has 1203 classes, more than the 255"):
            self.meaning(file)

    @pytest.mark.parametrize(
        "segmentation",
        [
            [[1, 2, 3]],
            {"size": [1, 1], "counts": [1]},
            {"size": [H, W], "counts": [3]},
            [["a"] * 6],
        ],
    )
    def test_broken_segmentations(self, segmentation: Any) -> None:
        areas = json.dumps({"size": [H, W], "fill": -1, "drawn": [[0, False, segmentation]]})
        with pytest.raises(ImageError, match="label: "):
            rasterise(areas, (H, W))

    def test_several_files_are_refused(self, tmp_path: Path) -> None:
        content = json.dumps(document(BOX)).encode()
        with pytest.raises(InputError, match="holds 2 JSON files"):
            indexed(tmp_path, {"a.json": content, "b.json": content})
