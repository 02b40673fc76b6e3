"""Correspondences of a clicked patch: on its image, on the image's neighbours, in all images."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import OptionError
from stego_core.search.patch_map import Patch, PatchMap, crop_patch
from tasks.browse import patch_maps
from tasks.corpus.index import IndexReader
from tasks.patch_index import patch_search
from tasks.patch_index.patch_rows import PatchRows
from tasks.patch_index.patch_search import PatchHit
from tasks.workspace import arrays
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


@dataclass(frozen=True)
class Heat:
    """Cosines of the clicked patch with every patch of an image, as in `Answer`.

    Features of one image are all alike to some degree: for colours, set off the mean.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]
    clicked: Patch


class Neighbour(NamedTuple):
    """One of an image's nearest neighbours, and the clicked patch's heat on it.

    The similarity is the cosine of the images' vectors, of those crops that are most alike.
    """

    dump: str
    row: int
    similarity: float
    heat: Heat


class Match(NamedTuple):
    """The patch of an image that resembles the clicked one most, with their exact cosine."""

    dump: str
    row: int
    patch: Patch
    similarity: float


class _Query(NamedTuple):
    """A clicked patch: its features (C,) of norm 1, where it lies, and its image's features."""

    features: NDArray[np.float32]
    patch: Patch
    image: PatchMap


def _query(workspace: Workspace, dump: str, row: int, y: float, x: float) -> _Query:
    if not (0 <= y <= 1 and 0 <= x <= 1):
        raise OptionError(f"the point {y}, {x} is not in the image; both must be 0 to 1")
    image = patch_maps.display_map(workspace, dump, row)
    position = image.at(y, x)
    return _Query(image.unit[position], image.patch(*position), image)


def heat(workspace: Workspace, dump: str, row: int, y: float, x: float) -> Heat:
    """Correspondences of the patch at a point with all patches of the same image.

    Args:
        workspace, dump, row: which image.
        y, x: the point, in shares of height and width, 0 to 1.

    Raises:
        InputError: there is no such image.
        OptionError: the point is not in it.
        ImageError: it cannot be read any more.
        WorkspaceError: there is no backbone yet.
    """
    query = _query(workspace, dump, row, y, x)
    return Heat(*query.image.answer(query.features), query.patch)


def neighbours(
    workspace: Workspace, dump: str, row: int, y: float, x: float, k: int = 4
) -> list[Neighbour] | None:
    """The image's nearest neighbours, other images than itself, best first, at most `k`.

    Empty where the image was not sampled for training; None where the dump has no table of
    neighbours, as with an imported head.

    Raises:
        WorkspaceError, InputError, OptionError, ImageError: as `heat`.
    """
    query = _query(workspace, dump, row, y, x)
    nearest = _nearest(workspace, dump, row, k)
    if nearest is None:
        return None
    images = (patch_maps.fast_map(workspace, name, other) for name, other, _ in nearest)
    return [
        Neighbour(*near, Heat(*image.answer(query.features), query.patch))
        for near, image in zip(nearest, images, strict=True)
    ]


def _nearest(
    workspace: Workspace, dump: str, row: int, k: int
) -> list[tuple[str, int, float]] | None:
    """Dumps, rows and similarities of other images, by the most similar crops of both."""
    folder = Summary(workspace).folder("neighbors", dump)
    rows = patch_maps.feature_rows_of(workspace, dump)
    if folder is None or rows is None:
        return None
    number = patch_maps.sample_number(rows, row)
    if number is None:
        return []
    dumps = tuple(str(name) for name, _ in folder.manifest()["inputs"]["dumps"])
    searched, crops = replace(rows, dumps=dumps), rows.crops()
    span = slice(number * crops, (number + 1) * crops)
    ids, cosines = (
        arrays.read_rows(workspace.storage, folder.path, name, span).ravel()
        for name in ("ids", "similarities")
    )
    clicked = searched.first_row(dump) // crops + number
    best: dict[int, float] = {}  # cosine by number of the image in all dumps
    for position in np.argsort(-cosines, kind="stable").tolist():
        image = int(ids[position]) // crops
        if image >= 0 and image != clicked:
            best.setdefault(image, float(cosines[position]))
    nearest = []
    for image, cosine in list(best.items())[:k]:
        owner, sampled, _ = searched.location(image * crops)
        nearest.append((dumps[owner], int(searched.images(dumps[owner])[sampled]), cosine))
    return nearest


def matches(
    workspace: Workspace, dump: str, row: int, y: float, x: float, k: int = 24
) -> list[Match]:
    """The patches of all searched dumps that resemble the clicked one most, best first.

    At most one per image, none of the clicked image.

    Raises:
        WorkspaceError: no dump's patches can be searched yet; says what to run.
        CapacityError: the index does not fit this machine's memory.
        InputError, OptionError, ImageError: as `heat`.
    """
    search = patch_search.search(workspace)
    query = _query(workspace, dump, row, y, x)
    clicked = _number_in_search(workspace, search.patches, dump, row)
    hits = search.find(query.features, k, clicked)
    return [_match(workspace, search.patches, hit) for hit in hits]


def _number_in_search(workspace: Workspace, searched: PatchRows, dump: str, row: int) -> int | None:
    """The number of an image among the sampled ones of all searched dumps; None if it is none."""
    rows = patch_maps.feature_rows_of(workspace, dump)
    if rows is None or dump not in searched.rows.dumps:
        return None
    number = patch_maps.sample_number(rows, row)
    first_row = searched.rows.first_row(dump)
    return None if number is None else first_row // searched.crops() + number


def _match(workspace: Workspace, searched: PatchRows, hit: PatchHit) -> Match:
    row, grid = int(searched.rows.images(hit.dump)[hit.image]), searched.rows.shape()[0]
    entry = IndexReader(workspace, hit.dump).entry(row)
    size = int(entry["height"]), int(entry["width"])
    patch = crop_patch(*size, grid, searched.tiles() > 1, hit.crop, hit.token)
    return Match(hit.dump, row, patch, hit.similarity)
