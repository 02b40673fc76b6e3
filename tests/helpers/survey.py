"""GeoTIFFs of all kinds, written by rasterio, and their masks as stored and as displayed."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from labelled import blobs, margins_of
from PIL import Image, TiffImagePlugin
from rasterio.transform import Affine, from_origin

from stego_core.labels.void import VOID_BYTE
from tasks.images import image_codecs as images

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


def stored_masks() -> dict[str, np.ndarray]:
    """Ids in the order of the files' pixels."""
    sizes = {**{name: place[2] for name, place in PLACES.items()}, **OTHERS}
    masks = {name: blobs(seed, *size) for seed, (name, size) in enumerate(sizes.items())}
    return {**masks, "dot": np.ones((1, 1), np.uint8)}


def displayed() -> dict[str, np.ndarray]:
    """Ids as the images are displayed, which is what the pipeline's masks are."""
    masks = stored_masks()
    return {**masks, "side": np.rot90(masks["side"], -1)}


def displayed_margins(name: str) -> np.ndarray:
    """Margins in the order of the file's pixels."""
    margins = margins_of(displayed()[name])
    return np.rot90(margins) if name == "side" else margins
