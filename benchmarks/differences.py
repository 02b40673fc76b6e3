"""What the differences from STEGO's own scripts change: equal pixels, equal neighbours.

    python benchmarks/differences.py --workspace WS --images DIR

The workspace has a trained head and clusters. Each image is labelled with them as in STEGO's
evaluation (its central square at 320 pixels, taken by nearest neighbour, twin mirrored at the same
size) and then with one thing changed: the whole image in its own size, of which the square is cut
afterwards; patches' positions resampled by timm or by DINO's code. The neighbours are those of the
training crops, found on features with and without dropout. Pixels are compared without and with
the CRF.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stego_core.clustering.kmeans import unit
from stego_core.head.batches import POSITIVE_RANKS
from stego_core.head.head import channels_kept
from stego_core.paper.cropping import resized_square
from stego_core.paper.published_protocol import EVALUATION_SIDE
from stego_core.search.neighbor_table import Neighbors
from tasks.features.rows import FeatureRows, feature_rows
from tasks.masks.segmenter import SegmenterSpec, segmenter_spec
from tasks.options import MasksOptions
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

DROPOUT = 0.1
"""Of STEGO's features, whole channels of an image."""
DRAWS = 5
"""Seeds of the dropout."""

Ids = NDArray[np.uint8]
Label = Callable[[Ids], Ids]


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workspace", required=True, help="with a trained head and clusters")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--limit", type=int, default=60, help="images taken, evenly spread")
    return parser.parse_args(arguments)


def square_first(label: Label) -> Label:
    """Classes (320, 320) of an image's central square, labelled as STEGO's evaluation does."""
    return lambda image: label(resized_square(image, EVALUATION_SIDE, "nearest"))


def square_last(label: Label) -> Label:
    """Classes (320, 320) of the same pixels, the image labelled as a whole in its own size."""
    return lambda image: resized_square(label(image), EVALUATION_SIDE, "nearest")


def equal_pixels(
    images: Iterable[Ids], label: Label, others: Mapping[str, Label]
) -> dict[str, list[float]]:
    """Share of each image's pixels that other ways of labelling give the same class, in percent."""
    shares: dict[str, list[float]] = {name: [] for name in others}
    for image in images:
        ids = label(image)
        for name, other in others.items():
            shares[name].append(100 * float((other(image) == ids).mean()))
    return shares


def equal_neighbors(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[float, float]:
    """Percent of the neighbours (n, k) of one table that the other has, in any order, and of the
    places that hold the same one.
    """
    shared = np.mean([np.isin(a, b).mean() for a, b in zip(one, other, strict=True)])
    return 100 * float(shared), 100 * float((one == other).mean())


def positives(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n, 7) rows that a positive of each of the unit vectors is drawn from."""
    own = np.arange(len(vectors))
    table = Neighbors.create(len(vectors), POSITIVE_RANKS + 1).with_rows(vectors, vectors, own)
    return table.self_first(own).ids[:, 1:]


def dropped(means: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Unit means (n, C) of features of which whole channels were dropped, drawn for each image."""
    generator = torch.Generator().manual_seed(seed)
    return np.asarray(unit(means * channels_kept(*means.shape, DROPOUT, generator).numpy()))


def of_neighbors(rows: FeatureRows) -> dict[str, Any]:
    """Figures of the neighbours with and without dropout, over `DRAWS` seeds."""
    means = rows.read("patches", np.arange(rows.total)).astype(np.float32).mean(axis=(1, 2))
    exact = positives(np.asarray(unit(means), np.float32))
    both = np.array([equal_neighbors(exact, positives(dropped(means, s))) for s in range(DRAWS)])
    named = zip(("of seven, in any order", "in the same place"), both.T, strict=True)
    return {"rows": rows.total, **{name: summed(values) for name, values in named}}


def of_pixels(spec: SegmenterSpec, images: list[Ids]) -> dict[str, Any]:
    """Figures of the pixels, without and with the CRF."""
    figures = {}
    for iterations in (0, 10):
        options = spec.options.model_copy(update={"crf_iterations": iterations})
        chosen = replace(spec, options=options)
        as_published = replace(chosen, backbone=replace(spec.backbone, positions="dino"))
        published, timms = (each.build("cpu") for each in (as_published, chosen))
        others = {"own size": square_last(published), "timm's positions": square_first(timms)}
        shares = equal_pixels(images, square_first(published), others)
        figures[f"CRF of {iterations} iterations"] = {n: summed(s) for n, s in shares.items()}
    return figures


def summed(values: Iterable[float]) -> dict[str, float]:
    """Mean and range of some percentages."""
    found = np.array(list(values))
    return {
        name: round(float(value), 2)
        for name, value in (("mean", found.mean()), ("least", found.min()), ("most", found.max()))
    }


def main(arguments: list[str]) -> None:
    chosen = parsed(arguments)
    workspace = Workspace.open(chosen.workspace)
    key = workspace.last_run()["keys"]["clusters"]
    published = MasksOptions(
        resolution=EVALUATION_SIDE, views="mirror", sharpness=2.0, crf_pixels="released"
    )
    files = harness.found_images(chosen, chosen.images)
    images = [np.asarray(Image.open(path).convert("RGB")) for path in files]
    clusters = workspace.folder(layout.clusters(key)).manifest()
    dumps = [name for name, _ in clusters["inputs"]["dumps"]]
    rows = feature_rows(workspace, clusters["inputs"]["features"], dumps)
    figures = {
        "images": len(images),
        "equal pixels": of_pixels(segmenter_spec(workspace, key, published), images),
        "equal neighbours": of_neighbors(rows),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
