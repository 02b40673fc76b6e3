"""Where else a pixel's like is, and the space of codes."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from flows.explorer.parameters import Document, Image, Open, Point, described
from tasks.browse import pictures
from tasks.workspace.workspace import Workspace

# The modules of tasks.browse import torch, which takes seconds: they wait for the first click.
router = APIRouter()
SAMPLE = 2000
"""Patches in the picture of the codes."""


@router.get("/prepare/{dump}/{row}")
def prepare(explorer: Open, image: Image) -> Document:
    """Have an image's features ready before somebody clicks on it."""
    from tasks.browse import patch_maps

    patch_maps.display_map(explorer.workspace, *image)
    return {}


@router.get("/heat")
def heat(explorer: Open, point: Point) -> Document:
    """A point's cosines with the patches of its image."""
    from tasks.browse import correspondences

    cosines = correspondences.heat(explorer.workspace, *point)
    return {**pictures.cosines(cosines.values), "patch": cosines.clicked._asdict()}


@router.get("/neighbours")
def neighbours(explorer: Open, point: Point) -> Document:
    """A point's cosines with the patches of its image's neighbours; null without a table."""
    from tasks.browse import correspondences

    near = correspondences.neighbours(explorer.workspace, *point)
    if near is None:
        return {"items": None}
    return _items(
        explorer.workspace, near, [{"heat": pictures.cosines(n.heat.values)} for n in near]
    )


@router.get("/matches")
def matches(explorer: Open, point: Point) -> Document:
    """The patches of all images that a point's resembles most."""
    from tasks.browse import correspondences

    best = correspondences.matches(explorer.workspace, *point)
    return _items(explorer.workspace, best, [{"patch": each.patch._asdict()} for each in best])


def _items(workspace: Workspace, similar: Sequence[Any], more: Sequence[Document]) -> Document:
    """Similar images with what the page needs to know of each, and more."""
    images = described(workspace, [(each.dump, each.row) for each in similar])
    together = zip(images, similar, more, strict=True)
    return {
        "items": [{**image, "similarity": one.similarity, **rest} for image, one, rest in together]
    }


@router.get("/codes")
def codes(explorer: Open) -> Document:
    """A sample of the patches and the centroids in the plane of codes."""
    from tasks.browse.code_plane import code_plane

    plane = code_plane(explorer.workspace, SAMPLE)
    points = [{**point._asdict(), "patch": point.patch._asdict()} for point in plane.points]
    centroids = plane.centroids.tolist()
    return {"points": points, "centroids": centroids, "explained": plane.explained}
