"""Where pixels lie on Earth: the order of the files' pixels, and back from what is displayed."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from survey import PLACES, stored_masks

from tasks.corpus.index import IndexReader
from tasks.images import image_codecs as images
from tasks.workspace.workspace import Workspace


def test_the_pipeline_sees_what_rasterio_wrote(survey: Workspace, tmp_path: Path) -> None:
    index = IndexReader(survey, "survey")
    entries = {entry["image_id"]: entry for entry in index.entries(np.arange(len(stored_masks())))}
    assert set(entries) == set(stored_masks())
    for name in PLACES:
        path = Path(index.manifest["images_uri"]) / f"{name}.tif"
        with rasterio.open(path) as file:
            expected = np.moveaxis(file.read(), 0, 2)
        if name == "side":
            expected = np.rot90(expected, -1)
        np.testing.assert_array_equal(index.image(entries[name]).pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_undoes_the_display(orientation: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7), np.uint8)
    exif = Image.Exif()
    exif[images.ORIENTATION_TAG] = orientation
    for name in ("a.png", "a.tif"):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
        content = (tmp_path / name).read_bytes()
        shown = images.decode(content, 1000)[:, :, 0]
        found = images.stored(content, 1000)
        assert found.orientation == orientation
        np.testing.assert_array_equal(images.turned_back(shown, found.orientation), pixels)


def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION_TAG] = 9
    Image.new("L", (3, 2)).save(tmp_path / "a.png", exif=exif)
    assert images.stored((tmp_path / "a.png").read_bytes(), 100) == images.EncodedImage("PNG", 1)
