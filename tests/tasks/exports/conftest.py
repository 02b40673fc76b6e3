"""Workspaces that the formats are exported from, and what exports one."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_masks import LABELS, MASKS
from labelled import add_dump, save_photo, workspace_at
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from survey import DEGREES, OTHERS, PLACES, displayed, turn, write_tiff

from tasks import exports
from tasks.class_names import classes_file
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace


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


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """GeoTIFFs of all kinds, and images without a place on Earth; two of five classes changed."""
    folder = tmp_path_factory.mktemp("geo")
    images = folder / "survey"
    for name, (crs, transform, size) in PLACES.items():
        tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
        more = tiled if name.endswith("tiled") else {}
        write_tiff(images / f"{name}.tif", size, crs=crs, transform=transform, **more)
    turn(images / "side.tif")
    points = [GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 9), (9, 0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        write_tiff(images / "plain.tif", OTHERS["plain"])
        write_tiff(images / "gcps.tif", OTHERS["gcps"], gcps=points, crs=DEGREES)
    Image.fromarray(np.zeros((*OTHERS["photo"], 3), np.uint8)).save(images / "photo.png")
    workspace = workspace_at(str(folder / "ws"))
    add_dump(workspace, "survey", images, displayed())
    now = classes_file.current_names(workspace).classes
    edited = now.merged([3], 2).ignoring([4]).edited(1, "road & path", "#0080ff")
    classes_file.edit(workspace, edited, "for a test")
    return workspace
