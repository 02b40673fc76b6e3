"""Format geotiff: a mask per georeferenced image, in the same place on Earth."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

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
        document = {"void": VOID_BYTE, "classes": rows}
        content = json.dumps(document, indent=1, ensure_ascii=False)
        self.target.write("legend.json", content.encode())

    def add(self, image: LabelledImage) -> None:
        """Write the image's mask.

        Raises:
            ImageError: the image is not georeferenced.
        """
        place = Georeference.of(image)
        ids = place.stored(image.ids)
        height, width = ids.shape
        with rasterio.Env(), MemoryFile() as file:
            with file.open(
                driver="GTiff",
                width=width,
                height=height,
                count=1,
                dtype="uint8",
                nodata=VOID_BYTE,
                crs=place.crs,
                transform=place.transform,
                compress="deflate",
                bigtiff="if_safer",
            ) as dataset:
                dataset.write_colormap(1, self.colours)
                dataset.update_tags(**self.tags)
                dataset.write(ids, 1)
            self.target.write(f"masks/{image.name}.tif", file.read())

    def end(self) -> Mapping[str, Path]:
        """Nothing: every file is an image's own."""
        return {}
