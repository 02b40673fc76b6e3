"""Label files: ids, colours, 255, COCO files, and what is refused in one sentence."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as packing

from stego_core.errors import ImageError, InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.corpus import stage as corpus
from tasks.corpus.changed_files import check_unchanged
from tasks.corpus.index import IndexReader
from tasks.engine.steps import LoopExecutor
from tasks.files.left_out import LeftOutCounts
from tasks.labels.coco_labels import CategoryMeaning, CocoFile, rasterise
from tasks.labels.label_decoding import class_ids
from tasks.options import CorpusOptions
from tasks.workspace.workspace import Workspace

H, W = 6, 8


def png(values: Any, mode: str | None = None) -> bytes:
    image = Image.fromarray(np.asarray(values, np.uint8))
    return saved(image.convert(mode) if mode else image)


def saved(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def taxonomy(**keys: Any) -> Taxonomy:
    return Taxonomy.parse({"classes": ["ground", "object"], **keys})


def indexed(tmp_path: Path, labels: dict[str, bytes], **options: Any) -> IndexReader:
    """A dump of three images with these label files."""
    for folder in ("in", "labels"):
        (tmp_path / folder).mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for name in "abc":
        pixels = rng.integers(0, 255, (H, W, 3), np.uint8)
        (tmp_path / f"in/{name}.png").write_bytes(png(pixels))
    for name, content in labels.items():
        (tmp_path / "labels" / name).write_bytes(content)
    workspace = Workspace.create(str(tmp_path / "ws"))
    chosen = CorpusOptions(images=f"{tmp_path}/in", labels=f"{tmp_path}/labels", **options)
    stage = corpus.plan(workspace, "d", chosen)
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), range(stage.shards)))
    corpus.finish(workspace, stage, 0.0, 1)
    return IndexReader(workspace, "d")


def ids(reader: IndexReader, row: int) -> Any:
    return reader.labels(reader.entries(np.array([row]))[0])


class TestByte:
    """255 is void only where the taxonomy has no class of that id."""

    def test_as_a_class(self) -> None:
        table = [-1] * 255 + [1]
        table[0] = 0
        found = class_ids(png([[0, 255, 7]]), 100, taxonomy(fine_to_coarse=table))
        assert found.tolist() == [[0, 1, -1]]

    def test_refused_where_it_may_stand_for_a_class(self, tmp_path: Path) -> None:
        label = np.zeros((H, W))
        label[:2] = 255
        (tmp_path / "t.json").write_text('{"classes": ["ground", "object"]}')
        match = r"class 1, 'object', occurs in 0 pixels .* 255, which counts as void, in 16;"
        with pytest.raises(InputError, match=match):
            indexed(tmp_path, {"a.png": png(label)}, taxonomy=f"{tmp_path}/t.json")

    def test_refused_without_a_taxonomy_too(self, tmp_path: Path) -> None:
        label = np.zeros((H, W))
        label[:2] = 255
        with pytest.raises(InputError, match=r"one value, 0 \(32 pixels\), besides 255 \(16"):
            indexed(tmp_path, {"a.png": png(label)})

    def test_stays_void_where_every_class_occurs(self, tmp_path: Path) -> None:
        label = np.zeros((H, W))
        label[:2], label[3] = 255, 1
        reader = indexed(tmp_path, {"a.png": png(label)})
        assert np.unique(ids(reader, 0)).tolist() == [-1, 0, 1]


class TestColours:
    TWO = ("#000000", [255, 0, 0])

    def test_rgb_palette_and_grey(self) -> None:
        meaning = taxonomy(colours=list(self.TWO))
        pixels = np.zeros((H, W, 3), np.uint8)
        pixels[1, 2] = 255, 0, 0
        expected = np.zeros((H, W), int)
        expected[1, 2] = 1
        for content in (png(pixels), saved(Image.fromarray(pixels).quantize(4))):
            assert class_ids(content, 100, meaning).tolist() == expected.tolist()

    def test_black_and_white(self) -> None:
        meaning = taxonomy(colours=["#000000", "#ffffff"])
        assert class_ids(png([[0, 255]]), 100, meaning).tolist() == [[0, 1]]

    def test_one_more_colour_is_that_of_void(self) -> None:
        meaning = taxonomy(colours=["#000000", "#ffffff", "#808080"])
        assert class_ids(png([[0, 128, 255]]), 100, meaning).tolist() == [[0, -1, 1]]

    def test_transparent_pixels_are_void(self) -> None:
        pixels = np.array([[[0, 0, 0, 255], [9, 9, 9, 0]]], np.uint8)
        assert class_ids(png(pixels), 100, taxonomy(colours=list(self.TWO))).tolist() == [[0, -1]]

    def test_a_strange_colour_is_told(self) -> None:
        pixels = np.zeros((H, W, 3), np.uint8)
        pixels[2, 3] = pixels[4, 5] = 1, 2, 3
        with pytest.raises(InputError, match=r"2 pixels .* #010203, the first in row 2, column 3"):
            class_ids(png(pixels), 100, taxonomy(colours=list(self.TWO)))

    @pytest.mark.parametrize(
        ("colours", "message"),
        [
            (["#000000"], "has 1 entries; expected one for each of the 2"),
            (["#000000", "#000000"], "gives #000000 to the stored values 0 and 1"),
            (["#000000", "red"], r"holds 'red'; expected \[red"),
            (["#000000", [0, 0, 256]], "holds"),
            ("#000000", "must be a list"),
        ],
    )
    def test_wrong_tables(self, colours: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            taxonomy(colours=colours)

    def test_without_a_table_the_taxonomy_is_named(self, tmp_path: Path) -> None:
        label = {"a.png": png(np.zeros((H, W, 3)))}
        match = (
            r"none of the labels can be used; the first: label a\.png of image a\.png: .*colours"
        )
        with pytest.raises(InputError, match=match):
            indexed(tmp_path, label)


class TestRefusals:
    def test_scaled_ids(self) -> None:
        with pytest.raises(InputError, match=r"holds 0, 20, 60\); all are multiples of 20"):
            Taxonomy("t", ("a", "b", "c", "d")).apply(np.array([[0, 20, 60]]))

    @pytest.mark.parametrize("count", [256, 300])
    def test_more_classes_than_a_mask_tells_apart(self, count: int) -> None:
        names = [str(number) for number in range(count)]
        with pytest.raises(InputError, match=f"has {count} classes, more than the 255"):
            Taxonomy.parse({"classes": names})
        assert len(Taxonomy.parse({"classes": names[:255]}).classes) == 255

    def test_a_label_that_lies_as_the_file_does(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (W, H)).save(tmp_path / "in/t.jpg", exif=exif)
        with pytest.raises(InputError, match=r"t\.png is 6×8, its image 8×6, as its EXIF"):
            indexed(tmp_path, {"t.png": png(np.zeros((H, W)))})


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
