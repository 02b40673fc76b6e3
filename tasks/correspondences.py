"""Correspondences of a clicked patch: on its image, on the image's neighbours, in all images."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.workspace.workspace import Workspace


class Patch(NamedTuple):
    """Where a patch lies in its image, in shares of the image's height and width.

    Attributes:
        y, x: its upper left corner, 0 to 1.
        height, width: its sides.
    """

    y: float
    x: float
    height: float
    width: float


@dataclass(frozen=True)
class Heat:
    """Cosines of one patch with every patch of an image.

    Attributes:
        values: (h, w) float32 in [-1, 1], spread evenly over the whole image as it is displayed.
            Features of one image are all alike to some degree: for colours, set off the mean.
        seen: (h, w) bool, whether a patch shows this part of the image; where none does, `values`
            has that of the nearest patch.
        asked: the patch that was clicked, in the clicked image.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]
    asked: Patch


class Neighbour(NamedTuple):
    """One of an image's nearest neighbours.

    Attributes:
        dump, row: which image.
        similarity: cosine of the images' vectors.
        heat: of the clicked patch on it.
    """

    dump: str
    row: int
    similarity: float
    heat: Heat


class Match(NamedTuple):
    """The patch of an image that resembles the clicked one most.

    Attributes:
        dump, row: which image.
        patch: where it lies there.
        similarity: its cosine with the clicked patch, exact.
    """

    dump: str
    row: int
    patch: Patch
    similarity: float


class CodePoint(NamedTuple):
    """A patch in the plane of codes.

    Attributes:
        x, y: coordinates.
        cls: the cluster whose centroid is nearest.
        dump, row: which image.
        patch: where it lies there.
    """

    x: float
    y: float
    cls: int
    dump: str
    row: int
    patch: Patch


class CodeSpace(NamedTuple):
    """Codes and centroids on two principal axes.

    Attributes:
        points: a seeded sample of patches.
        centroids: (K, 2) float32 coordinates of the clusters' centroids, by cluster id.
        explained: share of the codes' variance that the two axes hold.
    """

    points: list[CodePoint]
    centroids: NDArray[np.float32]
    explained: float


def prepare(workspace: Workspace, dump: str, row: int) -> None:
    """Load an image's features, so that clicks on it are answered at once.

    Raises: as `heat`.
    """
    raise NotImplementedError


def heat(workspace: Workspace, dump: str, row: int, y: float, x: float) -> Heat:
    """Correspondences of the patch at a point with all patches of the same image.

    Args:
        workspace: with clusters.
        dump, row: which image.
        y, x: the point, in shares of height and width, 0 to 1.

    Raises:
        InputError: there is no such image.
        OptionError: the point is not in it.
        ImageError: it cannot be read any more.
        WorkspaceError: there is no backbone yet.
    """
    raise NotImplementedError


def neighbours(
    workspace: Workspace, dump: str, row: int, y: float, x: float, k: int = 4
) -> list[Neighbour]:
    """The image's nearest neighbours, other images than itself, best first, at most `k`.

    None where the image was not drawn for training.

    Raises:
        WorkspaceError: the dump has no table of neighbours (an imported head has none).
        InputError, OptionError, ImageError: as `heat`.
    """
    raise NotImplementedError


def matches(
    workspace: Workspace, dump: str, row: int, y: float, x: float, k: int = 24
) -> list[Match]:
    """The patches of all searched dumps that resemble the clicked one most, best first.

    At most one per image, none of the clicked image.

    Raises:
        WorkspaceError: no dump's patches can be searched yet; says what to run.
        InputError, OptionError, ImageError: as `heat`.
    """
    raise NotImplementedError


def code_space(workspace: Workspace, sample: int = 2000) -> CodeSpace:
    """Centroids and about so many patches, drawn from a fixed seed, in the plane of codes.

    Raises:
        WorkspaceError: there are no clusters or no masks yet.
    """
    raise NotImplementedError
