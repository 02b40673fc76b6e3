"""Correspondences of a clicked patch: on its image, on the image's neighbours, in all images."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.clustering.projection import Plane
from stego_core.errors import OptionError
from stego_core.search.patch_map import Patch, PatchMap, crop_axes
from tasks.browse import gallery, patch_maps
from tasks.corpus.index import IndexReader
from tasks.engine import machine
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.masks.segmenter import segmenter_spec
from tasks.options import MasksOptions
from tasks.patch_index import patch_search
from tasks.patch_index import stage as patches
from tasks.storage.run_cache import remembered
from tasks.workspace import arrays
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

STORED_IMAGES, COMPUTED_IMAGES = 64, 8
"""Images that codes are drawn from: where their features are stored, and where they are not."""
SEED = 0


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
        similarity: cosine of the images' vectors, of those crops that are most alike.
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
        cls: the cluster whose centroid its code resembles most.
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
    """Codes and centroids, all of norm 1, on their two principal axes.

    Attributes:
        points: patches drawn from a fixed seed.
        centroids: (K, 2) float32 coordinates of the clusters' centroids, by cluster id.
        explained: share of the variance that the two axes hold, 0 to 1.
    """

    points: list[CodePoint]
    centroids: NDArray[np.float32]
    explained: float


class _Asked(NamedTuple):
    """A clicked patch: its features (C,) of norm 1, where it lies, and all of its image."""

    query: NDArray[np.float32]
    patch: Patch
    image: PatchMap


def prepare(workspace: Workspace, dump: str, row: int) -> None:
    """Load an image's features, so that clicks on it are answered at once.

    Raises:
        InputError, ImageError, WorkspaceError: as `heat`.
    """
    _asked(workspace, dump, row, 0.5, 0.5)


def _asked(workspace: Workspace, dump: str, row: int, y: float, x: float) -> _Asked:
    if not (0 <= y <= 1 and 0 <= x <= 1):
        raise OptionError(f"the point {y}, {x} is not in the image; both must be 0 to 1")
    image = patch_maps.shown(workspace, dump, row)
    place = image.at(y, x)
    return _Asked(image.unit[place], image.patch(*place), image)


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
    asked = _asked(workspace, dump, row, y, x)
    return Heat(*asked.image.answer(asked.query), asked.patch)


def neighbours(
    workspace: Workspace, dump: str, row: int, y: float, x: float, k: int = 4
) -> list[Neighbour] | None:
    """The image's nearest neighbours, other images than itself, best first, at most `k`.

    Empty where the image was not drawn for training; None where the dump has no table of
    neighbours, as with an imported head.

    Raises:
        WorkspaceError, InputError, OptionError, ImageError: as `heat`.
    """
    asked = _asked(workspace, dump, row, y, x)
    nearest = _nearest(workspace, dump, row, k)
    if nearest is None:
        return None
    found = []
    for name, other, similarity in nearest:
        answer = patch_maps.quick(workspace, name, other).answer(asked.query)
        found.append(Neighbour(name, other, similarity, Heat(*answer, asked.patch)))
    return found


def _nearest(
    workspace: Workspace, dump: str, row: int, k: int
) -> list[tuple[str, int, float]] | None:
    """Dumps, rows and similarities of other images, by the most similar crops of both."""
    summary = Summary(workspace)
    folder, own = summary.folder("neighbors", dump), patch_maps.feature_rows_of(workspace, dump)
    if folder is None or own is None:
        return None
    place = patch_maps.drawn_place(own, row)
    if place is None:
        return []
    dumps = tuple(str(name) for name, _ in folder.manifest()["inputs"]["dumps"])
    among, crops = FeatureRows(workspace, own.key, dumps), int(own.manifest(dump)["crops"])
    span = slice(place * crops, (place + 1) * crops)
    ids, cosines = (
        arrays.read_rows(workspace.storage, folder.path, name, span).ravel()
        for name in ("ids", "similarities")
    )
    itself = int(among.offsets()[dumps.index(dump)]) // crops + place
    found: dict[int, float] = {}
    for place_of_best in np.argsort(-cosines, kind="stable").tolist():
        image = int(ids[place_of_best]) // crops
        if image >= 0 and image != itself and len(found) < k:
            found.setdefault(image, float(cosines[place_of_best]))
    nearest = []
    for image, cosine in found.items():
        number, drawn, _ = among.location(image * crops)
        rows = patch_maps.drawn_images(FeatureRows(workspace, own.key, (dumps[number],)))
        nearest.append((dumps[number], int(rows[drawn]), cosine))
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
    search = patches.search(workspace)
    asked = _asked(workspace, dump, row, y, x)
    among = search.patches.rows
    own, without = patch_maps.feature_rows_of(workspace, dump), None
    if own is not None and dump in among.dumps:
        place = patch_maps.drawn_place(own, row)
        first = int(among.offsets()[among.dumps.index(dump)]) // search.patches.crops()
        without = None if place is None else first + place
    grid, found = patch_search.shape_of(among)[:2], []
    for each in search.find(asked.query, k, without):
        drawn = patch_maps.drawn_images(FeatureRows(workspace, among.key, (each.dump,)))
        match = int(drawn[each.place])
        entry = IndexReader(workspace, each.dump).entry(match)
        size = int(entry["height"]), int(entry["width"])
        rows, columns = crop_axes(*size, grid[0], five=search.patches.tiles() > 1)
        down, across = divmod(each.token, grid[1])
        down, across = down + each.crop // 2 * grid[0], across + each.crop % 2 * grid[1]
        corner = float(rows.starts[down]), float(columns.starts[across])
        found.append(
            Match(each.dump, match, Patch(*corner, rows.size, columns.size), each.similarity)
        )
    return found


def code_space(workspace: Workspace, sample: int = 2000) -> CodeSpace:
    """Centroids and about so many patches, drawn from a fixed seed, in the plane of codes.

    Raises:
        WorkspaceError: there are no clusters or no masks yet.
        ImageError: an image without stored features cannot be read any more.
    """
    return _code_space(workspace, Summary(workspace).require("clusters"), sample)


@remembered(4)
def _code_space(workspace: Workspace, clusters: str, sample: int) -> CodeSpace:
    generator = np.random.default_rng(SEED)
    spec = segmenter_spec(workspace, clusters, MasksOptions())
    head = heads.load_head(workspace.storage, spec.head_key, "auto")
    images = _drawn(workspace, generator)
    each = -(-sample // len(images))
    codes, places = [], []
    for dump, row in images:
        image = patch_maps.quick(workspace, dump, row)
        with torch.inference_mode():
            features = torch.from_numpy(image.features[None].astype(np.float32))
            own = head(features.to(machine.device("auto")))[0].cpu().numpy()
        height, width = own.shape[:2]
        order = generator.permutation(height * width)
        tokens = image.features.reshape(height * width, -1)
        there = np.asarray((tokens != 0).any(axis=1))  # the others hold no data
        for token in order[there[order]][:each].tolist():
            down, across = divmod(token, width)
            codes.append(own[down, across])
            places.append((dump, row, image.patch(down, across)))
    units, centroids = unit(np.stack(codes)), spec.centroids()
    plane = Plane.of(np.concatenate([centroids, units]))
    nearest = (units @ centroids.T).argmax(axis=1).tolist()
    points = [
        CodePoint(float(x), float(y), cls, *place)
        for (x, y), cls, place in zip(plane.points(units), nearest, places, strict=True)
    ]
    return CodeSpace(points, plane.points(centroids), plane.explained)


def _drawn(workspace: Workspace, generator: np.random.Generator) -> list[tuple[str, int]]:
    """Images to draw codes from: with stored features, else a few whose features are computed."""
    dumps = Summary(workspace).dumps
    stored = [rows for dump in dumps if (rows := patch_maps.feature_rows_of(workspace, dump))]
    most, images = (
        STORED_IMAGES,
        [(rows.dumps[0], int(row)) for rows in stored for row in patch_maps.usable_images(rows)],
    )
    if not images:
        most, images = COMPUTED_IMAGES, gallery.browsable(workspace)
    chosen = np.sort(generator.permutation(len(images))[:most])
    return [images[number] for number in chosen]
