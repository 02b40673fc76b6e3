"""Format voc, read back by torchvision and Datumaro."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exported_masks import MASKS, check_datumaro, every_mask
from PIL import Image
from torchvision.datasets import VOCSegmentation

from stego_core.errors import OptionError
from stego_core.labels.void import VOID_BYTE
from tasks import exports
from tasks.class_names import classes_file
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace


class TestVoc:
    def test_torchvision_reads_images_and_masks(
        self, exported: Callable[..., Path], tmp_path: Path
    ) -> None:
        out = exported("voc", with_images=True)
        lists = out / "ImageSets" / "Segmentation"
        (lists / "train.txt").write_bytes((lists / "default.txt").read_bytes())
        (tmp_path / "VOCdevkit").mkdir()
        (tmp_path / "VOCdevkit" / "VOC2012").symlink_to(out)
        dataset = VOCSegmentation(str(tmp_path), year="2012", image_set="train")
        wanted = list(every_mask())
        assert len(dataset) == len(wanted)
        for (image, target), (_, ids, _) in zip(dataset, wanted, strict=True):
            assert image.size == target.size == ids.shape[::-1]
            indices = np.where(ids == VOID_BYTE, VOID_BYTE, ids + 1)
            np.testing.assert_array_equal(np.asarray(target), indices)
            assert target.getpalette()[:6] == [0, 0, 0, 0, 0x80, 0xFF]
            assert target.getpalette()[-3:] == [224, 224, 192]

    def test_lines_of_the_label_map_are_pixel_values(self, exported: Callable[..., Path]) -> None:
        text = (exported("voc") / "labelmap.txt").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert lines[:2] == ["background:0,0,0::", "Gebäude & <Haus>:0,128,255::"]
        assert [line.split(":")[0] for line in lines[2:]] == ["road", "sky", "ignored"]

    def test_datumaro_reads_them_by_colour(self, exported: Callable[..., Path]) -> None:
        datumaro = pytest.importorskip("datumaro")
        out = exported("voc", with_images=True)
        check_datumaro(datumaro.Dataset.import_from(str(out), "voc_segmentation"))

    def test_a_class_called_background_is_index_zero(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        now = classes_file.current_names(workspace)
        classes_file.edit(workspace, now.classes.edited(1, "Background"), "for a test")
        try:
            out = tmp_path / "out"
            exports.export(workspace, "voc", Storage.at(str(out)))
        finally:
            classes_file.edit(workspace, now.classes, "as it was")
        with Image.open(out / "SegmentationClass" / "one" / "a.png") as image:
            expected = np.array([1, 0, 2, 2, VOID_BYTE])[MASKS["one"]["a"]]
            np.testing.assert_array_equal(np.asarray(image), expected)

    @pytest.mark.parametrize(
        ("name", "colour", "message"),
        [
            ("a:b", None, "'a:b' cannot stand in VOC's label map"),
            ("#1", None, "comments begin with '#'"),
            (None, "#0080ff", "<Haus> and road have the same colour"),
            ("ignored", None, "which VOC's label map keeps for void"),
            (None, "#000000", "background and road have the same colour"),
        ],
    )
    def test_what_readers_would_mistake_is_refused(
        self, workspace: Workspace, tmp_path: Path, name: str, colour: str, message: str
    ) -> None:
        now = classes_file.current_names(workspace)
        classes_file.edit(workspace, now.classes.edited(1, name, colour), "for a test")
        try:
            with pytest.raises(OptionError, match=message):
                exports.export(workspace, "voc", Storage.at(str(tmp_path / "out")))
        finally:
            classes_file.edit(workspace, now.classes, "as it was")
