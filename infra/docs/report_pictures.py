"""Pictures of a finished workspace: what its report and its exports show."""

import base64
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sheets import Pixels, save, sheet

from flows.cli import main
from stego_core.labels.regions import regions
from tasks.report import charts, data_uris
from tasks.report.confusion import confusion
from tasks.report.contents import ExampleImage, SeedFigure
from tasks.report.example_images import evenly_spread
from tasks.report.page import QUERIES
from tasks.report.seed_figure import seed_figure
from tasks.workspace import layout
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

DUMP = "scenes"
SHOWN = (1, 4, 9)
"""Which of the report's evenly spread images are shown."""
OBJECT_PIXELS = 50


def make(workspace: Workspace, folder: Path) -> Iterator[Path]:
    """Write each picture into a folder; gives its path."""
    summary = Summary(workspace)
    examples = [evenly_spread(summary, DUMP)[number] for number in SHOWN]
    pages = {
        "masks.png": _masks(examples),
        "confidence.png": _confidence(summary, examples[0]),
        "objects.png": _objects(summary, examples[0]),
        "names.png": _names(workspace, examples[:2]),
    }
    if found := seed_figure(summary):
        pages["correspondences.png"] = _correspondences(found)
    for name, page in pages.items():
        save(page, folder / name)
        yield folder / name
    if matrix := confusion(summary, DUMP):
        page = Image.open(io.BytesIO(charts.confusion_png(matrix))).convert("RGB")
        page.thumbnail((900, 900), Image.Resampling.LANCZOS)
        save(page, folder / "confusion.png")
        yield folder / "confusion.png"


def _masks(examples: list[ExampleImage]) -> Image.Image:
    captions = ["image", "classes over it", "mask", "labels (only for scores)"]
    rows = [[e.image, e.overlay, e.mask, _labels(e)] for e in examples]
    return sheet(captions, rows, 1000)


def _labels(example: ExampleImage) -> Pixels:
    assert example.labels is not None, "the demo's scenes are labelled"
    return example.labels


def _confidence(summary: Summary, example: ExampleImage) -> Image.Image:
    grey = np.repeat(_margins(summary, example)[..., None], 3, axis=2)
    captions = ["image", "mask", "confidence: white is sure"]
    return sheet(captions, [[example.image, example.mask, grey]], 900)


def _margins(summary: Summary, example: ExampleImage) -> Pixels:
    """(H, W) uint8, how far the best class is ahead of the second."""
    folder = summary.folder("masks", DUMP)
    assert folder is not None, "the demo has masks"
    path = layout.margins(folder.path, example.image_id)
    return np.asarray(Image.open(io.BytesIO(folder.storage.read(path))))


def _objects(summary: Summary, example: ExampleImage) -> Image.Image:
    """The outlines of what `stego export --instances --min-area 50` makes objects of."""
    flat = example.mask.astype(np.int64) @ [65536, 256, 1]
    values, ids = np.unique(flat, return_inverse=True)
    classes = ids.reshape(flat.shape).astype(np.uint8)
    large = Image.fromarray(example.image).resize(
        (2 * flat.shape[1], 2 * flat.shape[0]), Image.Resampling.LANCZOS
    )
    page = np.array(large)
    for region in regions(classes, _margins(summary, example), True, OBJECT_PIXELS):
        value = int(values[region.cls])
        height, width = region.mask.shape
        part = page[2 * region.top :, 2 * region.left :][: 2 * height, : 2 * width]
        part[_outline(region.mask)] = value >> 16, value >> 8 & 255, value & 255
    return Image.fromarray(page)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(2h, 2w) bool, the outermost pixels of a region at twice its size."""
    large = mask.repeat(2, axis=0).repeat(2, axis=1)
    return large & ~ndimage.binary_erosion(large, iterations=2)


def _names(workspace: Workspace, before: list[ExampleImage]) -> Image.Image:
    """The same images before and after names were proposed from their labels and accepted."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "ws"
        shutil.copytree(workspace.storage.uri, copy)
        main.main(["name", "propose", "--accept", "--workspace", str(copy)])
        named = evenly_spread(Summary(Workspace.open(str(copy))), DUMP)
        after = [named[number] for number in SHOWN]
    rows = [[b.image, b.mask, a.mask] for b, a in zip(before, after, strict=False)]
    captions = ["image", "clusters of the run", "classes after `stego name propose --accept`"]
    return sheet(captions, rows, 900)


def _correspondences(seed: SeedFigure) -> Image.Image:
    """STEGO's figure as in the report: query points, and what is like each of them."""
    rows, colours = list[list[Pixels]](), list(QUERIES.values())
    for number, (picture, heats) in enumerate(seed.heats):
        points = [None] * len(colours) if number else list(seed.points)
        first = data_uris.photo(picture, "")
        if not number:
            first = data_uris.marked(picture, seed.points, colours, "")
        maps = [
            data_uris.heat(picture, heat, colour, "", point)
            for heat, colour, point in zip(heats, colours, points, strict=True)
        ]
        rows.append([_pixels(embedded) for embedded in (first, *maps)])
    return sheet(["image", *(f"like the {name} point" for name in QUERIES)], rows[:3], 800)


def _pixels(embedded: data_uris.Embedded) -> Pixels:
    content = base64.b64decode(embedded.uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
