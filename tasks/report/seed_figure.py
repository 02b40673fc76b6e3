"""STEGO's seed figure: three query points, and what resembles them in the nearest images."""

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.head.correspondence import correspondence
from stego_core.images.geometry import crop_windows, square
from tasks.corpus.index import IndexReader
from tasks.features.rows import FeatureRows
from tasks.report.contents import SeedFigure
from tasks.workspace import arrays, layout
from tasks.workspace.summary import Summary

QUERY_POINTS = ((0.82, 0.5), (0.25, 0.5), (0.55, 0.15))
"""The query points, as shares of height and width."""
SEED_NEIGHBOURS = 3
"""Images beside the query's own."""


def seed_figure(summary: Summary) -> SeedFigure | None:
    """Three query points and what corresponds to them, in the image and its neighbours."""
    keys, dumps = summary.keys, summary.last_run.get("dumps", [])
    if "features" not in keys or not any(summary.folder("neighbors", dump) for dump in dumps):
        return None
    rows = FeatureRows(summary.workspace, keys["features"], tuple(dumps))
    query = _query_row(rows)
    if query is None:
        return None
    path = layout.neighbors(keys["neighbors"], dumps[0])
    (nearest,) = arrays.read_rows(rows.storage, path, "ids", slice(query, query + 1))
    targets = [query, *other_images(nearest, query, rows.crops())]
    pictures = [_crop_picture(rows, row) for row in targets]
    patches = rows.read("patches", np.array(targets)).astype(np.float32)
    height, width = patches.shape[1:3]
    cells = [(int(y * height), int(x * width)) for y, x in QUERY_POINTS]
    side = pictures[0][0].shape[0] / height
    return SeedFigure(
        points=[((y + 0.5) * side, (x + 0.5) * side) for y, x in cells],
        heats=[
            (picture, heat)
            for (picture, _), heat in zip(pictures, _heats(patches, cells), strict=True)
        ],
        captions=["the image itself", *(caption for _, caption in pictures[1:])],
    )


def _query_row(rows: FeatureRows) -> int | None:
    """The valid feature row nearest to the first image's last crop, its centre; None without."""
    crops = rows.crops()
    valid = np.flatnonzero(rows.valid())
    if not len(valid):
        return None
    target = crops - 1 if rows.total >= crops else 0
    return int(valid[np.argmin(np.abs(valid - target))])


def _heats(patches: NDArray[np.float32], cells: list[tuple[int, int]]) -> NDArray[np.float32]:
    """Cosines (n, queries, h, w) of patches (n, h, w, C) with those of the first image at cells.

    They are scaled so that 0 is the mean of the query's own image, and 1 stays 1.
    """
    images, height, width, channels = patches.shape
    queries = torch.from_numpy(np.stack([patches[0][cell] for cell in cells]))
    flat = torch.from_numpy(patches.reshape(images, -1, channels))
    cosines = correspondence(queries.expand(images, -1, -1), flat)
    mean = cosines[0].mean(dim=-1, keepdim=True)
    scaled = ((cosines - mean) / (1 - mean).clamp(min=1e-6)).clamp(min=-1)
    return np.asarray(scaled.reshape(images, len(cells), height, width).numpy())


def other_images(nearest: NDArray[np.int64], query: int, crops: int) -> list[int]:
    """The nearest rows that show other images than the query's, one of each image."""
    first_rows: dict[int, int] = {}
    for row in nearest[nearest >= 0].tolist():
        first_rows.setdefault(row // crops, row)
    first_rows.pop(query // crops, None)
    return list(first_rows.values())[:SEED_NEIGHBOURS]


def _crop_picture(rows: FeatureRows, row: int) -> tuple[NDArray[np.uint8], str]:
    """The pixels of a feature row, and a caption with its image's name."""
    number, sampled, crop = rows.location(row)
    dump = rows.dumps[number]
    side = int(rows.manifest(dump)["options"]["crop_size"])
    index = IndexReader(rows.workspace, dump)
    entry = index.entry(int(rows.images(dump)[sampled]))
    image = index.image(entry).pixels
    window = crop_windows(image.shape[0], image.shape[1], rows.crops() == 5)[crop]
    return square(image[window.slices], side), f"neighbour: {dump} / {entry['image_id']}"
