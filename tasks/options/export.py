"""Options of exports."""

from typing import Literal

from pydantic import Field

from tasks.options.base import Options

ExportFormat = Literal["masks", "coco", "voc", "cvat", "labelstudio", "geotiff", "geojson", "video"]

"""What `stego export` writes."""


class ExportOptions(Options):
    """What an export holds beyond its masks; each option is for some formats only."""

    instances: bool = Field(
        False,
        description="Each connected part of a class becomes an object, instead of one for the "
        "whole class (coco, cvat, labelstudio).",
    )
    min_area: int = Field(
        1,
        ge=1,
        description="Objects of fewer pixels are left out (coco, cvat, labelstudio, geojson).",
    )
    with_images: bool = Field(
        False,
        description="The images themselves are written too, upright, beside their masks (coco, "
        "cvat, voc).",
    )
    document_root: str = Field(
        "/",
        description="Label Studio serves local files from this folder, its "
        "LOCAL_FILES_DOCUMENT_ROOT (labelstudio).",
    )
