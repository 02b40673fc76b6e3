"""STEGO's seed figure: three query points, and what resembles them in the nearest images."""

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.head.correspondence import correspondence
from stego_core.images.geometry import crop_windows, square
from tasks.corpus.index import IndexReader
from tasks.features.rows import FeatureRows
from tasks.report import page
from tasks.workspace import arrays, layout
from tasks.workspace.summary import Summary

QUERY_POINTS = ((0.82, 0.5), (0.25, 0.5), (0.55, 0.15))
"""Where the seed figure asks, as shares of height and width."""
SEED_NEIGHBOURS = 3
"""Images beside the query's own."""


def seed_figure(summary: Summary) -> page.SeedFigure | None:
    """Three query points and what corresponds to them, in the image and its neighbours."""
    keys = summary.keys
    ready = [d for d in summary.last_run.get("dumps", []) if summary.folder("neighbors", d)]
    if not ready or "features" not in keys:
        return None
    rows = FeatureRows(summary.workspace, keys["features"], tuple(summary.last_run["dumps"]))
    crops = int(rows.manifest(rows.dumps[0])["crops"])
    query = crops - 1 if rows.total >= crops else 0  # the centre crop of the first image
    valid = np.flatnonzero(rows.valid())
    if not len(valid):
        return None
    query = int(valid[np.argmin(np.abs(valid - query))])
    table = arrays.read_rows(
        summary.workspace.storage,
        layout.neighbors(keys["neighbors"], rows.dumps[0]),
        "ids",
        slice(query, query + 1),
    )[0]
    targets = [query, *others(table, query, crops)]
    pictures = [crop_picture(rows, row) for row in targets]
    patches = rows.read("patches", np.array(targets)).astype(np.float32)
    height, width, channels = patches.shape[1:]
    cells = [(int(y * height), int(x * width)) for y, x in QUERY_POINTS]
    asked = torch.from_numpy(np.stack([patches[0][cell] for cell in cells]))
    answered = torch.from_numpy(patches.reshape(len(targets), -1, channels))
    heats = correspondence(asked.expand(len(targets), -1, -1), answered)
    usual = heats[0].mean(dim=-1, keepdim=True)  # what any patch of the query's picture has
    heats = ((heats - usual) / (1 - usual).clamp(min=1e-6)).clamp(min=-1)
    side = pictures[0][0].shape[0] / height
    points = [((y + 0.5) * side, (x + 0.5) * side) for y, x in cells]
    return page.SeedFigure(
        image=pictures[0][0],
        points=points,
        heats=[
            (picture, heat.reshape(3, height, width).numpy())
            for (picture, _), heat in zip(pictures, heats, strict=True)
        ],
        captions=["the image itself", *(caption for _, caption in pictures[1:])],
    )


def others(table: NDArray[np.int64], query: int, crops: int) -> list[int]:
    """The nearest rows of the table that show other images than the query's."""
    seen, chosen = {query // crops}, []
    for row in table.tolist():
        if row >= 0 and row // crops not in seen:
            seen.add(row // crops)
            chosen.append(row)
    return chosen[:SEED_NEIGHBOURS]


def crop_picture(rows: FeatureRows, row: int) -> tuple[NDArray[np.uint8], str]:
    """The pixels of a feature row and the name of its image."""
    number, place, crop = rows.place(row)
    dump = rows.dumps[number]
    manifest = rows.manifest(dump)
    crops, side = int(manifest["crops"]), int(manifest["options"]["crop_size"])
    drawn = arrays.read_rows(
        rows.workspace.storage, rows.path(dump), "images", slice(place, place + 1)
    )
    index = IndexReader(rows.workspace, dump)
    (entry,) = index.entries(drawn)
    image = index.image(entry).pixels
    window = crop_windows(image.shape[0], image.shape[1], crops == 5)[crop]
    return square(image[window.slices], side), f"neighbour: {dump} / {entry['image_id']}"
