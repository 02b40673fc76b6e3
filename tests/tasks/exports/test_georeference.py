"""Georeferenced images: masks in the same place on Earth, read back by rasterio."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from labelled import add_dump, blobs, margins_of, workspace_at
from PIL import Image, TiffImagePlugin
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_geom
from scipy import ndimage
from shapely.geometry import shape

from stego_core.errors import InputError
from stego_core.labels.void import VOID_BYTE
from tasks import exports
from tasks.class_names import classes_file
from tasks.corpus.index import IndexReader
from tasks.images import image_codecs as images
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

SHOWN = np.array([0, 1, 2, 2, VOID_BYTE], np.uint8)
UTM, DEGREES = "EPSG:32633", "EPSG:4326"
PLACES: dict[str, tuple[str, Affine, tuple[int, int]]] = {
    "deep/tiled": (UTM, from_origin(400_000, 5_800_000, 0.5, 0.5), (70, 90)),
    "degrees": (DEGREES, from_origin(-120.0, 38.0, 1e-5, 2e-5), (20, 31)),
    "dot": (UTM, from_origin(401_000, 5_800_000, 10, 10), (1, 1)),
    "line": (UTM, from_origin(402_000, 5_800_000, 1, 1), (1, 200)),
    "rotated": (
        UTM,
        Affine(1.6, 1.2, 403_000, 1.2, -1.6, 5_800_000),
        (25, 17),
    ),
    "side": (UTM, from_origin(404_000, 5_800_000, 1, 1), (16, 24)),
}
"""CRS, transform and size as stored. `side` is displayed turned by 90 degrees."""
OTHERS = {"gcps": (9, 9), "plain": (9, 9), "photo": (9, 9)}
TAGS = (33550, 33922, 34735, 34736, 34737)
"""Of georeferences."""


def write_tiff(path: Path, size: tuple[int, int], **profile: Any) -> None:
    """Random RGB as rasterio writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (3, *size), np.uint8)
    kind = {"driver": "GTiff", "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", height=size[0], width=size[1], **kind, **profile) as file:
        file.write(pixels)


def turn(path: Path) -> None:
    """Say in a GeoTIFF that it is to be displayed turned by 90 degrees."""
    with Image.open(path) as image:
        image.load()
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for tag in TAGS:
            if tag in image.tag_v2:
                tags.tagtype[tag] = image.tag_v2.tagtype[tag]
                tags[tag] = image.tag_v2[tag]
        tags[images.ORIENTATION_TAG] = 6
        image.save(path, tiffinfo=tags)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """GeoTIFFs of all kinds, and images without a place on Earth; two of five classes changed."""
    folder = tmp_path_factory.mktemp("geo")
    survey = folder / "survey"
    for name, (crs, transform, size) in PLACES.items():
        tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
        more = tiled if name.endswith("tiled") else {}
        write_tiff(survey / f"{name}.tif", size, crs=crs, transform=transform, **more)
    turn(survey / "side.tif")
    points = [GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 9), (9, 0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        write_tiff(survey / "plain.tif", OTHERS["plain"])
        write_tiff(survey / "gcps.tif", OTHERS["gcps"], gcps=points, crs=DEGREES)
    Image.fromarray(np.zeros((*OTHERS["photo"], 3), np.uint8)).save(survey / "photo.png")
    workspace = workspace_at(str(folder / "ws"))
    add_dump(workspace, "survey", survey, displayed())
    now = classes_file.current_names(workspace).classes
    edited = now.merged([3], 2).ignoring([4]).edited(1, "road & path", "#0080ff")
    classes_file.edit(workspace, edited, "for a test")
    return workspace


def stored_masks() -> dict[str, np.ndarray]:
    """Ids in the order of the files' pixels."""
    sizes = {**{name: place[2] for name, place in PLACES.items()}, **OTHERS}
    masks = {name: blobs(seed, *size) for seed, (name, size) in enumerate(sizes.items())}
    return {**masks, "dot": np.ones((1, 1), np.uint8)}


def displayed() -> dict[str, np.ndarray]:
    """Ids as the images are displayed, which is what the pipeline's masks are."""
    masks = stored_masks()
    return {**masks, "side": np.rot90(masks["side"], -1)}


def test_the_pipeline_sees_what_rasterio_wrote(workspace: Workspace, tmp_path: Path) -> None:
    index = IndexReader(workspace, "survey")
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


class TestGeoTiff:
    def test_masks_lie_where_their_images_lie(self, workspace: Workspace, tmp_path: Path) -> None:
        exports.export(workspace, "geotiff", Storage.at(str(tmp_path / "out")))
        for name, (crs, transform, _) in PLACES.items():
            with rasterio.open(tmp_path / "out" / "masks" / "survey" / f"{name}.tif") as file:
                assert file.crs == rasterio.CRS.from_string(crs)
                assert file.transform.almost_equals(transform)
                assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), VOID_BYTE)
                np.testing.assert_array_equal(file.read(1), SHOWN[stored_masks()[name]])
                assert file.colormap(1)[1] == (0, 0x80, 0xFF, 255)
                tags = {key: file.tags()[key] for key in file.tags() if key.startswith("CLASS_")}
                assert tags == {"CLASS_0": "building", "CLASS_1": "road & path", "CLASS_2": "sky"}

    def test_others_are_left_out_with_their_reasons(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        told = exports.export(workspace, "geotiff", Storage.at(str(tmp_path / "out")))
        reasons = {row["path"]: row["reason"] for row in told["skipped"]}
        assert set(reasons) == {"gcps.tif", "plain.tif", "photo.png"}
        assert "control points" in reasons["gcps.tif"]
        assert reasons["plain.tif"] == "it has no transform and coordinate reference system"
        assert "PNG file; only GeoTIFFs" in reasons["photo.png"]
        assert told["images"] == len(PLACES)


class TestGeoJson:
    def test_polygons_cover_the_pixels_of_their_classes(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        told = exports.export(workspace, "geojson", Storage.at(str(tmp_path / "out")))
        assert told["images"] == len(PLACES)
        features = json.loads((tmp_path / "out" / "masks.geojson").read_text())["features"]
        assert {f["properties"]["image"] for f in features} == set(PLACES)
        for name, (crs, transform, size) in PLACES.items():
            ids = SHOWN[stored_masks()[name]]
            margins = displayed_margins(name) / 255
            own = [f for f in features if f["properties"]["image"] == name]
            found = np.full(size, VOID_BYTE, np.uint8)
            for feature in own:
                properties = feature["properties"]
                here = transform_geom(DEGREES, crs, feature["geometry"])
                mask = rasterize([here], size, transform=transform, dtype="uint8") > 0
                assert (found[mask] == VOID_BYTE).all()
                found[mask] = properties["class"]
                assert properties["confidence"] == pytest.approx(margins[mask].mean(), abs=1e-4)
            np.testing.assert_array_equal(found, ids)

    def test_rings_are_valid_and_turn_as_they_should(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        exports.export(workspace, "geojson", Storage.at(str(tmp_path / "out")))
        document = json.loads((tmp_path / "out" / "masks.geojson").read_text())
        assert document["type"] == "FeatureCollection"
        holes = 0
        for feature in document["features"]:
            polygon = shape(feature["geometry"])
            assert polygon.is_valid
            assert polygon.exterior.is_ccw
            assert not any(ring.is_ccw for ring in polygon.interiors)
            holes += len(polygon.interiors)
            assert -180 <= polygon.bounds[0] <= polygon.bounds[2] <= 180
        assert holes > 0

    def test_small_parts_may_be_left_out(self, workspace: Workspace, tmp_path: Path) -> None:
        out = Storage.at(str(tmp_path / "out"))
        exports.export(workspace, "geojson", out, None, ExportOptions(min_area=12))
        features = json.loads((tmp_path / "out" / "masks.geojson").read_text())["features"]
        images = [feature["properties"]["image"] for feature in features]
        for name in PLACES:
            ids = SHOWN[stored_masks()[name]]
            parts = [ndimage.label(ids == cls)[0].ravel() for cls in (0, 1, 2)]
            sizes = np.concatenate([np.bincount(part)[1:] for part in parts])
            assert images.count(name) == (sizes >= 12).sum()

    def test_properties_name_the_class(self, workspace: Workspace, tmp_path: Path) -> None:
        exports.export(workspace, "geojson", Storage.at(str(tmp_path / "out")))
        features = json.loads((tmp_path / "out" / "masks.geojson").read_text())["features"]
        road = next(f["properties"] for f in features if f["properties"]["class"] == 1)
        assert (road["name"], road["colour"], road["fill"]) == ("road & path", *2 * ("#0080ff",))
        assert {f["properties"]["name"] for f in features} == {"building", "road & path", "sky"}
        assert road["dump"] == "survey"

    def test_an_image_across_the_antimeridian_is_cut_there(self, tmp_path: Path) -> None:
        place = from_origin(833_960, 200, 1, 1)  # 180° is at 833,978.6
        write_tiff(tmp_path / "far" / "a.tif", (10, 40), crs="EPSG:32660", transform=place)
        workspace = workspace_at(str(tmp_path / "ws"))
        add_dump(workspace, "far", tmp_path / "far", {"a": np.zeros((10, 40), np.uint8)})
        exports.export(workspace, "geojson", Storage.at(str(tmp_path / "out")))
        (feature,) = json.loads((tmp_path / "out" / "masks.geojson").read_text())["features"]
        polygons = shape(feature["geometry"])
        assert feature["geometry"]["type"] == "MultiPolygon"
        assert sorted(round(p.bounds[0]) for p in polygons.geoms) == [-180, 180]
        assert all(p.exterior.is_ccw for p in polygons.geoms)

    def test_pixels_that_are_nowhere_on_earth(self, tmp_path: Path) -> None:
        write_tiff(
            tmp_path / "off" / "a.tif", (4, 4), crs=UTM, transform=from_origin(1e12, 1e12, 1, 1)
        )
        workspace = workspace_at(str(tmp_path / "ws"))
        add_dump(workspace, "off", tmp_path / "off", {"a": np.zeros((4, 4), np.uint8)})
        with pytest.raises(InputError, match=r"off/a\.tif: its coordinates"):
            exports.export(workspace, "geojson", Storage.at(str(tmp_path / "out")))


def displayed_margins(name: str) -> np.ndarray:
    """Margins in the order of the file's pixels."""
    margins = margins_of(displayed()[name])
    return np.rot90(margins) if name == "side" else margins
