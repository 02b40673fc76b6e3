"""Where on Earth the pixels of a GeoTIFF lie."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.transform import Affine

from stego_core.errors import ImageError
from tasks.exports.writer import LabelledImage
from tasks.images import image_codecs


@dataclass(frozen=True)
class Georeference:
    """Where a GeoTIFF's pixels lie, in the order in which they are stored.

    The transform leads from column and row to coordinates. Displays apply EXIF's orientation,
    georeferences ignore it.
    """

    crs: CRS
    transform: Affine
    orientation: int

    @classmethod
    def of(cls, image: LabelledImage) -> "Georeference":
        """The georeference of an image.

        Raises:
            ImageError: it has none, or one that cannot be carried over.
        """
        stored = image.stored
        if stored.format != "TIFF":
            raise ImageError(f"it is a {stored.format} file; only GeoTIFFs are georeferenced")
        with _opened(image.content) as dataset:
            if dataset.crs is None or dataset.transform == Affine.identity():
                if dataset.gcps[0] or dataset.rpcs:
                    raise ImageError(
                        "it has control points or polynomials instead of a transform; warp it "
                        "(gdalwarp) and index it as a new dump"
                    )
                raise ImageError("it has no transform and coordinate reference system")
            return cls(dataset.crs, dataset.transform, stored.orientation)

    def stored(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels (H, W) uint8 as displayed, turned back to the order that is stored."""
        return image_codecs.turned_back(pixels, self.orientation)


@contextmanager
def _opened(content: bytes) -> Iterator[DatasetReader]:
    """Open a TIFF file; GDAL's other readers never see a user's bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # raised as an ImageError
        try:
            with rasterio.Env(), MemoryFile(content) as file, file.open(driver="GTiff") as dataset:
                yield dataset
        except RasterioError as error:
            raise ImageError(f"its georeference cannot be read: {error}") from None
