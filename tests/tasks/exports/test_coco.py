"""Format coco, read back by pycocotools and Datumaro."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exported_masks import LABELS, check_datumaro, counted, every_mask, painted
from pycocotools.coco import COCO
from scipy import ndimage

from stego_core.labels.void import VOID_BYTE
from tasks.workspace.workspace import Workspace


class TestCoco:
    @pytest.mark.parametrize("instances", [False, True])
    def test_pycocotools_reads_the_masks(
        self, exported: Callable[..., Path], instances: bool
    ) -> None:
        found = COCO(str(exported("coco", instances=instances) / "annotations.json"))
        names = {cat["id"]: cat["name"] for cat in found.dataset["categories"]}
        assert names == {cls + 1: name for cls, name in LABELS.items()}
        assert found.cats[1]["color"] == [0, 0x80, 0xFF]
        by_name = {image["file_name"]: image for image in found.dataset["images"]}
        assert len(by_name) == 5
        assert sorted(found.anns) == list(range(1, len(found.anns) + 1))
        for name, ids, margins in every_mask():
            image = by_name[f"{name}.png"]
            assert (image["height"], image["width"]) == ids.shape
            own = found.imgToAnns[image["id"]]
            parts = [(ann["category_id"] - 1, found.annToMask(ann)) for ann in own]
            np.testing.assert_array_equal(painted(ids.shape, parts), ids)
            for ann, (cls, mask) in zip(own, parts, strict=True):
                assert ann["area"] == mask.sum()
                rows, columns = np.nonzero(mask)
                left, top = columns.min(), rows.min()
                size = [columns.max() - left + 1, rows.max() - top + 1]
                assert ann["bbox"] == [left, top, *size]
                assert ann["score"] == pytest.approx(margins[mask > 0].mean(), abs=1e-4)
                assert ann["iscrowd"] == 0
                if instances:
                    assert ndimage.label(mask)[1] == 1
                else:
                    assert (mask > 0).sum() == (ids == cls).sum()
            assert len(own) == (counted(ids) if instances else len(np.setdiff1d(ids, VOID_BYTE)))

    def test_small_objects_may_be_left_out(self, exported: Callable[..., Path]) -> None:
        out = exported("coco", instances=True, min_area=20)
        areas = [ann["area"] for ann in COCO(str(out / "annotations.json")).anns.values()]
        sizes: list[int] = []
        for _, ids, _ in every_mask():
            for cls in LABELS:
                parts, _ = ndimage.label(ids == cls)
                sizes += [size for size in np.bincount(parts.ravel())[1:] if size >= 20]
        assert sorted(areas) == sorted(sizes)
        assert 0 < len(areas) < sum(counted(ids) for _, ids, _ in every_mask())

    def test_images_lie_beside_and_where_they_were(
        self, exported: Callable[..., Path], workspace: Workspace
    ) -> None:
        out = exported("coco", with_images=True)
        document = json.loads((out / "annotations.json").read_text())
        for image in document["images"]:
            here = (out / "images" / image["file_name"]).read_bytes()
            assert here == Path(image["coco_url"]).read_bytes()

    def test_datumaro_reads_them_too(self, exported: Callable[..., Path], tmp_path: Path) -> None:
        datumaro = pytest.importorskip("datumaro")
        out = exported("coco", with_images=True)
        place = tmp_path / "dataset" / "annotations"
        place.mkdir(parents=True)
        (out / "annotations.json").rename(place / "instances_default.json")
        (out / "images").rename(tmp_path / "dataset" / "images")
        dataset = datumaro.Dataset.import_from(str(tmp_path / "dataset"), "coco_instances")
        check_datumaro(dataset)
