"""The plane of codes: a sample of the patches, and the centroids, on two principal axes."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.clustering.projection import Plane
from stego_core.search.patch_map import Patch, PatchMap
from tasks.browse import gallery, patch_maps
from tasks.engine import machine
from tasks.masks.segmenter import segmenter_spec
from tasks.options import MasksOptions
from tasks.storage.run_cache import remembered
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

STORED_IMAGES = 64
"""Images that codes are sampled from, where features are stored."""
COMPUTED_IMAGES = 8
"""Images that codes are sampled from, where features are computed."""
SEED = 0
"""Of the sample."""


class CodePoint(NamedTuple):
    """A patch in the plane of codes; `cls` is the cluster whose centroid its code is nearest to."""

    x: float
    y: float
    cls: int
    dump: str
    row: int
    patch: Patch


class CodePlane(NamedTuple):
    """Codes and centroids, all of norm 1, on their two principal axes.

    Attributes:
        centroids: (K, 2) float32 coordinates of the clusters' centroids, by cluster id.
        explained: share of the variance that the two axes hold, 0 to 1.
    """

    points: list[CodePoint]
    centroids: NDArray[np.float32]
    explained: float


def code_plane(workspace: Workspace, sample: int = 2000) -> CodePlane:
    """Centroids and about `sample` patches, sampled from a fixed seed, in the plane of codes.

    Raises:
        WorkspaceError: there are no clusters or no masks yet.
        ImageError: an image without stored features cannot be read any more.
    """
    return _code_plane(workspace, Summary(workspace).require("clusters"), sample)


@remembered(4)
def _code_plane(workspace: Workspace, clusters: str, sample: int) -> CodePlane:
    generator = np.random.default_rng(SEED)
    spec = segmenter_spec(workspace, clusters, MasksOptions())
    head = spec.head("auto")
    images = _sampled_images(workspace, generator)
    codes, patches = [], []
    for dump, row in images:
        image = patch_maps.fast_map(workspace, dump, row)
        with torch.inference_mode():
            features = torch.from_numpy(image.features[None].astype(np.float32))
            image_codes = head(features.to(machine.device("auto")))[0].cpu().numpy()
        for position in _sampled_positions(image, -(-sample // len(images)), generator):
            codes.append(image_codes[position])
            patches.append((dump, row, image.patch(*position)))
    units, centroids = unit(np.stack(codes)), spec.centroids()
    plane = Plane.of(np.concatenate([centroids, units]))
    nearest = (units @ centroids.T).argmax(axis=1).tolist()
    points = [
        CodePoint(float(x), float(y), cls, *patch)
        for (x, y), cls, patch in zip(plane.points(units), nearest, patches, strict=True)
    ]
    return CodePlane(points, plane.points(centroids), plane.explained)


def _sampled_positions(
    image: PatchMap, count: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Rows and columns of at most `count` patches of an image, of those that hold data."""
    height, width = image.features.shape[:2]
    order = generator.permutation(height * width)
    has_data = (image.features != 0).any(axis=-1).ravel()
    return [divmod(token, width) for token in order[has_data[order]][:count].tolist()]


def _sampled_images(workspace: Workspace, generator: np.random.Generator) -> list[tuple[str, int]]:
    """Images to sample codes from: with stored features, else a few whose features are computed."""
    dumps = Summary(workspace).dumps
    stored = [rows for dump in dumps if (rows := patch_maps.feature_rows_of(workspace, dump))]
    count = STORED_IMAGES
    images = [(rows.dumps[0], int(row)) for rows in stored for row in patch_maps.valid_images(rows)]
    if not images:
        count, images = COMPUTED_IMAGES, gallery.browsable(workspace)
    return [images[number] for number in np.sort(generator.permutation(len(images))[:count])]
