"""Format geojson: polygons of the classes of georeferenced images, in degrees (RFC 7946)."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import rasterio
from rasterio.features import shapes
from rasterio.warp import transform_geom

from stego_core.errors import ImageError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.regions import numbered
from tasks.exports.georeference import Georeference
from tasks.exports.writer import LabelledImage, Writer, legend
from tasks.images.rasters import is_gdal_error

WGS84 = "EPSG:4326"
DECIMALS = 9
"""Of coordinates in degrees: a tenth of a millimetre."""
Ring = Sequence[Sequence[float]]


class GeoJson(Writer):
    """`masks.geojson`: one feature for each connected part of a class in an image.

    Longitude and latitude on WGS 84; outer rings go counterclockwise, holes clockwise; polygons
    across the antimeridian are cut there. Properties: `class` (id), `name`, `colour` (also `fill`,
    which map viewers paint), `confidence` (mean margin), `dump`, `image`.
    """

    names = ("masks.geojson",)
    reads = ("margins", "content")
    accepts = frozenset({"min_area"})

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        """Begin the collection."""
        self.legend = {row["id"]: row for row in legend(classes)}
        head = '{"type":"FeatureCollection","features":[\n'
        self.features = self.target.file("masks.geojson", head, "\n]}\n")

    def add(self, image: LabelledImage) -> None:
        """Add the image's polygons.

        Raises:
            ImageError: the image is not georeferenced, or not on Earth.
        """
        georeference = Georeference.of(image)
        parts, classes = numbered(georeference.stored(image.ids))
        margins = georeference.stored(image.margins).ravel()
        pixels = np.bincount(parts.ravel(), minlength=len(classes))
        sums = np.bincount(parts.ravel(), margins, minlength=len(classes))
        large = (pixels >= self.options.min_area)[parts] & (parts > 0)
        outlines = list(shapes(parts, mask=large, transform=georeference.transform))
        geometries = _degrees(georeference, [outline for outline, _ in outlines])
        for (_, part), geometry in zip(outlines, geometries, strict=True):
            number = int(part)
            row = self.legend[int(classes[number])]
            properties = {
                "class": row["id"],
                "name": row["name"],
                "colour": row["colour"],
                "fill": row["colour"],
                "confidence": round(float(sums[number] / pixels[number] / 255), 4),
                "dump": image.dump,
                "image": image.entry["image_id"],
            }
            self.features.item({"type": "Feature", "geometry": geometry, "properties": properties})


def _degrees(georeference: Georeference, outlines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Polygons in longitude and latitude.

    Raises:
        ImageError: some of them have none.
    """
    if not outlines:
        return []
    try:
        with rasterio.Env():
            projected = transform_geom(georeference.crs, WGS84, outlines, precision=DECIMALS)
    except Exception as error:
        if not is_gdal_error(error):
            raise
        raise ImageError(f"its coordinates cannot be turned into degrees: {error}") from None
    for geometry in projected:
        for ring in chain.from_iterable(_polygons(geometry)):
            if not np.isfinite(np.array(ring)).all():
                raise ImageError("its coordinates lie outside of what its projection covers")
    return [_with_winding(geometry) for geometry in projected]


def _polygons(geometry: dict[str, Any]) -> list[list[Ring]]:
    """The polygons of a Polygon or MultiPolygon, each as its outer ring and its holes."""
    many = geometry["type"] == "MultiPolygon"
    return list(geometry["coordinates"]) if many else [geometry["coordinates"]]


def _with_winding(geometry: dict[str, Any]) -> dict[str, Any]:
    """The geometry with outer rings counterclockwise and holes clockwise."""
    polygons = [
        [ring if (_area(ring) > 0) == (number == 0) else ring[::-1] for number, ring in rings]
        for rings in map(enumerate, _polygons(geometry))
    ]
    single = geometry["type"] == "Polygon"
    return {"type": geometry["type"], "coordinates": polygons[0] if single else polygons}


def _area(ring: Ring) -> float:
    """Twice the signed area of a closed ring, counterclockwise positive."""
    x, y = np.array(ring, np.float64)[:, :2].T
    x, y = x - x[0], y - y[0]  # a small polygon far from the origin keeps its digits
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())
