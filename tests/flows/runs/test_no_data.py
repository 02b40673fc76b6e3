"""Pixels without data, from the file to everything that is made of it: no class, anywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from flags import QUICK, TINY
from PIL import Image
from rasterio.transform import from_origin

from flows import open_workspace
from flows.cli.main import main
from stego_core.head.batches import with_data
from tasks.corpus.index import IndexReader
from tasks.features.rows import feature_rows
from tasks.workspace import arrays
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.timeout(400)]
SCENES, MISSING = 10, 65535
HEIGHT, WIDTH = 96, 128


def write(path: Path, rgb: np.ndarray, missing: np.ndarray) -> None:
    """A GeoTIFF of 16 bits that says which of its numbers means no data."""
    bands = rgb.transpose(2, 0, 1).astype(np.uint16) * 12
    bands[:, missing] = MISSING
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5.4e6, 0.5, 0.5)}
    shape = {"count": 3, "height": rgb.shape[0], "width": rgb.shape[1], "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", nodata=MISSING, **shape, **place) as file:
        file.write(bands)


def hole(number: int) -> np.ndarray:
    """Half of some images, a ragged corner of others, nothing of the rest."""
    found = np.zeros((HEIGHT, WIDTH), np.bool_)
    if number % 3 == 0:
        found[:, : WIDTH // 2] = True
    elif number % 3 == 1:
        found |= np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) < 61
    return found


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A finished workspace `ws` of images with holes, and a dump that came later."""
    folder = tmp_path_factory.mktemp("holes")
    made = make_corpus(folder / "scenes", SCENES + 2)
    for number, path in enumerate(sorted((made / "images").glob("*.png"))):
        name = "train" if number < SCENES else "new"
        (folder / name).mkdir(exist_ok=True)
        rgb = np.asarray(Image.open(path).convert("RGB"))
        write(folder / name / f"{path.stem}.tif", rgb, hole(number))
    write(folder / "train" / "nothing.tif", rgb, np.ones((HEIGHT, WIDTH), np.bool_))
    main([
        "run", "--workspace", str(folder / "ws"), "--images", str(folder / "train"),
        "--labels", str(made / "labels"), "--taxonomy", str(made / "taxonomy.json"),
        "--neighbors", "8", "--executor", "loop", *TINY, *QUICK,
    ])  # fmt: skip
    main([
        "backfill", "--workspace", str(folder / "ws"), "--images", str(folder / "new"),
        "--executor", "loop",
    ])  # fmt: skip
    return folder


@pytest.fixture
def workspace(finished: Path) -> Workspace:
    return Workspace.open(str(finished / "ws"))


def document(finished: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    main(["status", "--workspace", str(finished / "ws"), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def masks(workspace: Workspace, dump: str) -> dict[int, np.ndarray]:
    """Masks by the number of their scene."""
    folder = Summary(workspace).folder("masks", dump)
    assert folder is not None
    paths = (Path(workspace.storage.uri) / folder.path).glob("*.png")
    return {int(path.stem[1:]): np.asarray(Image.open(path)) for path in paths}


@pytest.mark.parametrize(("dump", "count"), [("train", SCENES), ("new", 2)])
def test_masks_are_255_exactly_there(workspace: Workspace, dump: str, count: int) -> None:
    found = masks(workspace, dump)
    assert len(found) == count
    for number, mask in found.items():
        np.testing.assert_array_equal(mask == 255, hole(number))
        assert mask[~hole(number)].max() < 7


def test_it_is_told(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = document(finished, capsys)
    train, new = (told["dumps"][dump]["values"] for dump in ("train", "new"))
    share = np.mean([hole(number) for number in range(SCENES)])
    assert train["no_data"]["share"] == pytest.approx(share, abs=1e-5)
    assert train["told"][-1].startswith("no data: ")
    assert "as in training" in new["told"][0]
    (bad,) = told["quarantine"]
    assert (bad["path"], bad["reason"]) == ("nothing.tif", "none of its pixels holds data")
    main(["status", "--workspace", str(finished / "ws")])
    assert "values train: 10 files of uint16" in capsys.readouterr().out
    report = (finished / "ws/reports/latest/index.html").read_text()
    assert "10 files of uint16, 3 bands" in report


def test_a_later_dump_has_the_range_of_the_head(workspace: Workspace) -> None:
    ranges = [
        IndexReader(workspace, dump).manifest["values"]["renderings"][0]["ranges"]
        for dump in ("train", "new")
    ]
    assert ranges[0] == ranges[1]
    assert ranges[0][0][1] < MISSING / 10


def test_nothing_is_trained_on_there(workspace: Workspace) -> None:
    """Patches without data are zeros, are not drawn, and have no code among the clustered ones."""
    summary = Summary(workspace)
    rows = feature_rows(workspace, summary.keys["features"], ["train"])
    patches, valid = rows.read("patches", np.arange(rows.total)), rows.valid()
    there = with_data(patches)
    assert there is not None
    left, right = there[:, :, 0].all(axis=1), there[:, :, -1].all(axis=1)
    assert not left[0]  # the first crop of the first image is its upper left quarter
    assert right[1]
    assert 0 < (~valid).sum() < rows.total / 2
    assert (there[~valid].mean(axis=(1, 2)) < 0.25).all()
    path = f"clusters/{summary.keys['clusters']}/codes.zarr"
    codes = arrays.read_rows(workspace.storage, path, "codes", slice(None))
    each = len(codes) // rows.total
    drawn = np.abs(codes).sum(axis=1).reshape(rows.total, each) > 0
    assert not drawn[~valid].any()
    assert drawn[valid].any(axis=1).all()
    table = arrays.read_rows(
        workspace.storage, f"neighbors/{summary.keys['neighbors']}/train.zarr", "ids", slice(None)
    )
    assert not np.isin(table, np.flatnonzero(~valid)).any()


def test_nothing_is_scored_or_counted_there(
    finished: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = Summary(workspace)
    scored, made = summary.scores("train"), summary.manifest("masks", "train")
    assert scored is not None
    assert made is not None
    labels = {
        number: np.asarray(Image.open(finished / "scenes/labels" / f"s{number:03d}.png"))
        for number in range(SCENES)
    }
    counted = sum(int(((ids != 255) & ~hole(number)).sum()) for number, ids in labels.items())
    for confusion in scored["confusion"].values():
        assert np.sum(confusion) == counted
    data = sum(int((~hole(number)).sum()) for number in range(SCENES))
    assert sum(made["pixels"]) == data


def test_overlays_show_the_image_there(workspace: Workspace) -> None:
    (path,) = (Path(workspace.storage.uri) / "overlays").rglob("s000.jpg")
    shown = np.asarray(Image.open(path)).astype(int)
    index = IndexReader(workspace, "train")
    own = index.image(index.entry(0)).pixels.astype(int)
    inside = hole(0).copy()
    inside[:, WIDTH // 3 - 9 :] = False  # a JPEG's blocks mix across the edge
    assert np.abs(shown - own)[inside].max() <= 6


def test_no_export_has_a_class_there(finished: Path, tmp_path: Path) -> None:
    def export(kind: str) -> Path:
        out = tmp_path / kind
        main(["export", "--format", kind, "--out", str(out), "--workspace", str(finished / "ws")])
        return out

    from pycocotools import mask as packing

    coco = json.loads((export("coco") / "annotations.json").read_text())
    numbers = {each["id"]: int(each["image_id"][1:]) for each in coco["images"]}
    covered = {number: np.zeros((HEIGHT, WIDTH), np.int64) for number in numbers.values()}
    for each in coco["annotations"]:
        covered[numbers[each["image_id"]]] += packing.decode(each["segmentation"])
    for number, count in covered.items():
        np.testing.assert_array_equal(count, ~hole(number))
    for path in (export("geotiff") / "masks/train").glob("*.tif"):
        with rasterio.open(path) as file:
            assert file.nodata == 255
            np.testing.assert_array_equal(file.read(1) == 255, hole(int(path.stem[1:])))
    voc = export("voc")
    assert "ignored:224,224,192::" in (voc / "labelmap.txt").read_text()
    for kind, place in (("masks", "masks"), ("voc", "SegmentationClass")):
        folder = voc if kind == "voc" else export(kind)
        for path in (folder / place / "train").glob("*.png"):
            found = np.asarray(Image.open(path))
            np.testing.assert_array_equal(found == 255, hole(int(path.stem[1:])))
    features = json.loads((export("geojson") / "masks.geojson").read_text())["features"]
    assert features
    assert all(each["properties"]["class"] < 7 for each in features)
    pixels = (export("cvat") / "annotations.xml").read_text()
    assert "ignored" not in pixels


def test_loose_images(finished: Path, workspace: Workspace, tmp_path: Path) -> None:
    """The same file alone is labelled as it is in its dump."""
    path = finished / "new" / f"s{SCENES:03d}.tif"
    main(["segment", str(path), "--workspace", str(finished / "ws"), "--out", str(tmp_path)])
    expected = masks(workspace, "new")[SCENES]
    found = np.asarray(Image.open(tmp_path / f"{path.stem}.png"))
    np.testing.assert_array_equal(found, expected)
    opened = open_workspace(str(finished / "ws"))
    np.testing.assert_array_equal(opened.label(path), expected)
    shown = opened.picture(path)
    np.testing.assert_array_equal(opened.label(shown), expected)


def test_python_takes_arrays_and_images_of_pillow(finished: Path) -> None:
    opened = open_workspace(str(finished / "ws"))
    image = Image.open(finished / "scenes/images/s000.png").convert("RGB")
    expected = opened.label(np.asarray(image))
    np.testing.assert_array_equal(opened.label(image), expected)
    np.testing.assert_array_equal(opened.label(finished / "scenes/images/s000.png"), expected)
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(hole(0), 0, 255).astype(np.uint8)))
    np.testing.assert_array_equal(opened.label(clear) == 255, hole(0))
