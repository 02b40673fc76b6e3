"""Every format of objects and folders, read back by somebody else's reader, pixel by pixel."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from labelled import MASKS_KEY, NAMES, add_dump, blobs, margins_of, save_photo, workspace_at
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage
from torchvision.datasets import VOCSegmentation

from stego_core.errors import OptionError
from stego_core.labels.void import VOID_BYTE
from tasks import exports
from tasks.class_names import classes_file
from tasks.exports.label_studio import reference
from tasks.masks import confidence_table
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

MASKS = {
    "one": {"a": blobs(1, 40, 56), "deep/dot": blobs(2, 1, 1), "line": blobs(3, 1, 200)},
    "t_wo": {"a": blobs(4, 47, 33), "column": blobs(5, 90, 1)},
}
SHOWN = np.array([0, 1, 2, 2, VOID_BYTE], np.uint8)
"""Trees count as sky, cars are ignored."""
LABELS = {0: "Gebäude & <Haus>", 1: "road", 2: "sky"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two dumps of odd sizes, with classes renamed, merged and ignored."""
    folder = tmp_path_factory.mktemp("formats")
    workspace = workspace_at(str(folder / "ws"))
    for dump, masks in MASKS.items():
        for name, ids in masks.items():
            save_photo(folder / dump / f"{name}.png", ids.shape)
        add_dump(workspace, dump, folder / dump, masks)
    now = classes_file.current_names(workspace).classes
    edited = now.merged([3], 2).ignoring([4]).edited(0, LABELS[0], "#0080ff")
    classes_file.edit(workspace, edited, "for a test")
    return workspace


@pytest.fixture
def exported(workspace: Workspace, tmp_path: Path) -> Callable[..., Path]:
    """Export everything in a format."""

    def export(kind: str, **options: Any) -> Path:
        out = tmp_path / "out"
        chosen = ExportOptions(**options)
        assert exports.export(workspace, kind, Storage.at(str(out)), None, chosen)["images"] == 5
        return out

    return export


def every_mask() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, ids as shown, margins of 1."""
    for dump, masks in MASKS.items():
        for name, ids in masks.items():
            yield f"{dump}/{name}", SHOWN[ids], margins_of(ids) / 255


def painted(shape: tuple[int, ...], parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Masks of classes on void; none may lie on another."""
    result = np.full(shape, VOID_BYTE, np.uint8)
    for cls, mask in parts:
        assert (result[mask > 0] == VOID_BYTE).all()
        result[mask > 0] = cls
    return result


def counted(ids: np.ndarray) -> int:
    """Connected parts of all classes."""
    return sum(ndimage.label(ids == cls)[1] for cls in LABELS)


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


def check_datumaro(dataset: Any) -> None:
    """What Datumaro made of an export equals the masks."""
    items = {item.id: item for item in dataset}
    labels = [label.name for label in dataset.categories()[label_type()].items]
    for name, ids, _ in every_mask():
        parts = []
        for annotation in items[name].annotations:
            label = labels[annotation.label]
            if label == "ignored" or annotation.type.name == "bbox":
                continue
            cls = {text: number for number, text in LABELS.items()}[label]
            parts.append((cls, np.asarray(annotation.image)))
        np.testing.assert_array_equal(painted(ids.shape, parts), ids)


def label_type() -> Any:
    from datumaro.components.annotation import AnnotationType

    return AnnotationType.label


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


class TestCvat:
    @pytest.mark.parametrize("instances", [False, True])
    def test_datumaro_reads_the_masks(self, exported: Callable[..., Path], instances: bool) -> None:
        datumaro = pytest.importorskip("datumaro")
        out = exported("cvat", with_images=True, instances=instances)
        dataset = datumaro.Dataset.import_from(str(out), "cvat")
        check_datumaro(dataset)
        margins = {name: values for name, _, values in every_mask()}
        shapes = 0
        for item in dataset:
            for annotation in item.annotations:
                own = margins[item.id][np.asarray(annotation.image) > 0]
                told = float(annotation.attributes["confidence"])
                assert told == pytest.approx(own.mean(), abs=1e-4)
                shapes += 1
        masks = [ids for _, ids, _ in every_mask()]
        whole = sum(len(np.setdiff1d(ids, VOID_BYTE)) for ids in masks)
        assert shapes == (sum(map(counted, masks)) if instances else whole)

    def test_labels_have_their_names_and_colours(self, exported: Callable[..., Path]) -> None:
        out = exported("cvat")
        root = ElementTree.parse(out / "annotations.xml").getroot()
        assert root.findtext("version") == "1.1"
        labels = root.findall("meta/task/labels/label")
        assert [label.findtext("name") for label in labels] == list(LABELS.values())
        assert labels[0].findtext("color") == "#0080ff"
        raw = json.loads((out / "labels.json").read_text())
        assert [row["name"] for row in raw] == list(LABELS.values())
        sources = {mask.get("source") for mask in root.iter("mask")}
        assert sources == {"auto"}


class TestLabelStudio:
    @pytest.mark.parametrize("instances", [False, True])
    def test_its_own_reader_decodes_the_brushes(
        self, workspace: Workspace, exported: Callable[..., Path], instances: bool
    ) -> None:
        brush = pytest.importorskip("label_studio_sdk.converter.brush")
        out = exported("labelstudio", instances=instances)
        tasks = json.loads((out / "tasks.json").read_text())
        numbers = {name: number for number, name in LABELS.items()}
        doubts = {
            f"{dump}/{row['image_id']}": row["doubt"]
            for dump in MASKS
            for row in confidence_table.stream_rows(
                workspace.folder("masks", MASKS_KEY, dump), ("image_id", "doubt")
            )
        }
        for (name, ids, margins), task in zip(every_mask(), tasks, strict=True):
            assert f"{task['data']['dump']}/{task['data']['image_id']}" == name
            (prediction,) = task["predictions"]
            assert prediction["score"] == pytest.approx(1 - doubts[name], abs=1e-4)
            parts = []
            for result in prediction["result"]:
                value = result["value"]
                assert (result["original_height"], result["original_width"]) == ids.shape
                flat = brush.decode_rle(value["rle"])
                mask = flat.reshape(*ids.shape, 4)[:, :, 3]
                assert set(np.unique(mask)) <= {0, 255}
                parts.append((numbers[value["brushlabels"][0]], mask))
                assert result["score"] == pytest.approx(margins[mask > 0].mean(), abs=1e-4)
            np.testing.assert_array_equal(painted(ids.shape, parts), ids)
            if instances:
                assert len(parts) == counted(ids)

    def test_the_configuration_belongs_to_the_tasks(self, exported: Callable[..., Path]) -> None:
        out = exported("labelstudio")
        view = ElementTree.parse(out / "config.xml").getroot()
        labels = [label.get("value") for label in view.iter("Label")]
        assert labels == list(LABELS.values())
        result = json.loads((out / "tasks.json").read_text())[0]["predictions"][0]["result"][0]
        assert result["from_name"] == view.find("BrushLabels").get("name")
        assert result["to_name"] == view.find("Image").get("name")
        assert view.find("Image").get("value") == "$image"

    def test_local_images_are_referred_to_below_the_document_root(
        self, exported: Callable[..., Path], workspace: Workspace
    ) -> None:
        folder = Path(workspace.storage.uri).parent
        out = exported("labelstudio", document_root=str(folder))
        tasks = json.loads((out / "tasks.json").read_text())
        address = urlsplit(tasks[0]["data"]["image"])
        assert address.path == "/data/local-files/"
        assert parse_qs(address.query) == {"d": ["one/a.png"]}

    def test_images_elsewhere_keep_their_uri(self) -> None:
        root = Storage.at("/data")
        assert reference("s3a://bucket/a b.png", root) == "s3://bucket/a b.png"
        assert reference("/data/x/a&b #1.png", root) == "/data/local-files/?d=x/a%26b%20%231.png"
        with pytest.raises(OptionError, match="not below /data, the document root"):
            reference("/database/a.png", root)

    def test_without_its_package_one_sentence(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "label_studio_sdk.converter.brush", None)
        monkeypatch.setitem(sys.modules, "label_studio_sdk.converter", None)
        with pytest.raises(OptionError, match=r"pip install 'stego-flows\[labelstudio\]'"):
            exports.export(workspace, "labelstudio", Storage.at(str(tmp_path / "out")))


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
