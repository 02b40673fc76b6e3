"""Format geojson, read back by shapely and rasterio."""

import json
from pathlib import Path

import numpy as np
import pytest
from labelled import add_dump, workspace_at
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.warp import transform_geom
from scipy import ndimage
from shapely.geometry import shape
from survey import DEGREES, PLACES, SHOWN, UTM, displayed_margins, stored_masks, write_tiff

from stego_core.errors import InputError
from stego_core.labels.void import VOID_BYTE
from tasks import exports
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace


class TestGeoJson:
    def test_polygons_cover_the_pixels_of_their_classes(
        self, survey: Workspace, tmp_path: Path
    ) -> None:
        told = exports.export(survey, "geojson", Storage.at(str(tmp_path / "out")))
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
        self, survey: Workspace, tmp_path: Path
    ) -> None:
        exports.export(survey, "geojson", Storage.at(str(tmp_path / "out")))
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

    def test_small_parts_may_be_left_out(self, survey: Workspace, tmp_path: Path) -> None:
        out = Storage.at(str(tmp_path / "out"))
        exports.export(survey, "geojson", out, None, ExportOptions(min_area=12))
        features = json.loads((tmp_path / "out" / "masks.geojson").read_text())["features"]
        images = [feature["properties"]["image"] for feature in features]
        for name in PLACES:
            ids = SHOWN[stored_masks()[name]]
            parts = [ndimage.label(ids == cls)[0].ravel() for cls in (0, 1, 2)]
            sizes = np.concatenate([np.bincount(part)[1:] for part in parts])
            assert images.count(name) == (sizes >= 12).sum()

    def test_properties_name_the_class(self, survey: Workspace, tmp_path: Path) -> None:
        exports.export(survey, "geojson", Storage.at(str(tmp_path / "out")))
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
