"""Format geotiff: a mask per georeferenced image, in the same place on Earth."""

from collections.abc import Sequence

import rasterio
from rasterio.io import MemoryFile

from stego_core.images.palette import rgb
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.exports.georeference import Georeference
from tasks.exports.writer import LabelledImage, Writer, legend


class GeoTiff(Writer):
    """`masks/DUMP/IMAGE_ID.tif`: uint8 class ids, nodata 255, with the image's CRS and transform.

    Class names are tags CLASS_0, CLASS_1 and so on; the colour table is the classes' colours. The
    mask has the pixels' order of the image file, whatever EXIF orientation it is displayed in.
    """

    names = ("masks", "legend.json")
    reads = ("content",)

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Write the legend."""
        rows = legend(classes)
        self.colours = {row["id"]: (*rgb(row["colour"]), 255) for row in rows}
        self.tags = {f"CLASS_{row['id']}": row["name"] for row in rows}
        self.target.write_legend(classes)

    def add(self, image: LabelledImage) -> None:
        """Write the image's mask.

        Raises:
            ImageError: the image is not georeferenced.
        """
        georeference = Georeference.of(image)
        ids = georeference.stored(image.ids)
        with rasterio.Env(), MemoryFile() as file:
            with file.open(
                driver="GTiff",
                height=ids.shape[0],
                width=ids.shape[1],
                count=1,
                dtype="uint8",
                nodata=VOID_BYTE,
                crs=georeference.crs,
                transform=georeference.transform,
                compress="deflate",
                bigtiff="if_safer",
            ) as dataset:
                dataset.write_colormap(1, self.colours)
                dataset.update_tags(**self.tags)
                dataset.write(ids, 1)
            self.target.write(f"masks/{image.name}.tif", file.read())
