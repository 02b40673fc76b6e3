"""Format geotiff: masks in the same place on Earth, read back by rasterio."""

from pathlib import Path

import numpy as np
import rasterio
from survey import PLACES, SHOWN, stored_masks

from stego_core.labels.void import VOID_BYTE
from tasks import exports
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace


class TestGeoTiff:
    def test_masks_lie_where_their_images_lie(self, survey: Workspace, tmp_path: Path) -> None:
        exports.export(survey, "geotiff", Storage.at(str(tmp_path / "out")))
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
        self, survey: Workspace, tmp_path: Path
    ) -> None:
        told = exports.export(survey, "geotiff", Storage.at(str(tmp_path / "out")))
        reasons = {row["path"]: row["reason"] for row in told["skipped"]}
        assert set(reasons) == {"gcps.tif", "plain.tif", "photo.png"}
        assert "control points" in reasons["gcps.tif"]
        assert reasons["plain.tif"] == "it has no transform and coordinate reference system"
        assert "PNG file; only GeoTIFFs" in reasons["photo.png"]
        assert told["images"] == len(PLACES)
