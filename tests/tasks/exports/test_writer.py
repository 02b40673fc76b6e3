"""What all formats share: images whose files need care, and classes that are all ignored."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from labelled import NAMES, add_dump, blobs, save_photo, workspace_at
from PIL import Image
from pycocotools.coco import COCO

from stego_core.labels.void import VOID_BYTE
from tasks import exports
from tasks.class_names import classes_file
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace


class TestFiles:
    """Images whose files need care."""

    @pytest.fixture
    def turned(self, tmp_path: Path) -> Workspace:
        """Two JPEGs, one of them stored on its side, and one whose name breaks lines."""
        folder = tmp_path / "photos"
        folder.mkdir()
        pixels = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(folder / "side.jpg", exif=exif)
        Image.fromarray(pixels).save(folder / "up.jpg")
        Image.fromarray(pixels).save(folder / "odd\nname.png")
        workspace = workspace_at(str(tmp_path / "ws"))
        masks = {"side": blobs(1, 12, 8), "up": blobs(2, 8, 12), "odd\nname": blobs(3, 8, 12)}
        add_dump(workspace, "photos", folder, masks)
        return workspace

    def test_images_go_along_upright(self, turned: Workspace, tmp_path: Path) -> None:
        chosen = ExportOptions(with_images=True)
        for kind, names in (
            ("coco", {"side": "images/photos/side.jpg.png", "up": "images/photos/up.jpg"}),
            ("voc", {"side": "JPEGImages/photos/side.jpg", "up": "JPEGImages/photos/up.jpg"}),
        ):
            out = tmp_path / kind
            exports.export(turned, kind, Storage.at(str(out)), None, chosen)
            original = (tmp_path / "photos" / "up.jpg").read_bytes()
            assert (out / names["up"]).read_bytes() == original
            with Image.open(out / names["side"]) as image:
                assert image.size == (8, 12)
                assert image.getexif().get(0x0112, 1) == 1

    @pytest.mark.parametrize("kind", ["voc", "cvat"])
    def test_a_name_that_the_format_cannot_hold_is_left_out(
        self, turned: Workspace, tmp_path: Path, kind: str
    ) -> None:
        told = exports.export(turned, kind, Storage.at(str(tmp_path / "out")))
        assert told["images"] == 2
        (row,) = told["skipped"]
        assert (row["path"], "control characters" in row["reason"]) == ("odd\nname.png", True)

    def test_an_image_that_changed_is_left_out(self, turned: Workspace, tmp_path: Path) -> None:
        save_photo(tmp_path / "photos" / "up.jpg", (8, 12))
        out = Storage.at(str(tmp_path / "out"))
        told = exports.export(turned, "coco", out, None, ExportOptions(with_images=True))
        assert [row["path"] for row in told["skipped"]] == ["up.jpg"]
        document = json.loads((tmp_path / "out" / "annotations.json").read_text())
        assert [image["id"] for image in document["images"]] == [1, 2]
        assert exports.export(turned, "coco", out)["images"] == 3  # masks alone need no image


def test_every_class_may_be_ignored(workspace: Workspace, tmp_path: Path) -> None:
    """Files of no class and no annotation are still files that readers read."""
    now = classes_file.current_names(workspace)
    classes_file.edit(workspace, now.classes.ignoring(range(len(NAMES))), "for a test")
    try:
        for kind in ("masks", "coco", "voc", "cvat", "labelstudio"):
            exports.export(workspace, kind, Storage.at(str(tmp_path / kind)))
    finally:
        classes_file.edit(workspace, now.classes, "as it was")
    assert COCO(str(tmp_path / "coco" / "annotations.json")).anns == {}
    assert len(json.loads((tmp_path / "labelstudio" / "tasks.json").read_text())) == 5
    root = ElementTree.parse(tmp_path / "cvat" / "annotations.xml").getroot()
    assert (len(root.findall("image")), len(list(root.iter("mask")))) == (5, 0)
    for kind, folder in (("masks", "masks"), ("voc", "SegmentationClass")):
        with Image.open(tmp_path / kind / folder / "one" / "a.png") as image:
            assert (np.asarray(image) == VOID_BYTE).all()
