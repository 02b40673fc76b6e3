"""Label files: ids, colours, 255, and what is refused in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from three_images import H, W, ids, indexed, png, saved, taxonomy

from stego_core.errors import InputError
from stego_core.labels.taxonomy import Taxonomy
from tasks.labels.label_decoding import class_ids


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
