"""The paper's figures of a benchmark: systems side by side, and correspondences of three points."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tasks.report.contents import Comparison, SeedFigure

QUERY_COLOURS = ((0.0, 0.3, 1.0), (1.0, 0.0, 0.0), (0.0, 0.75, 0.0))
"""Blue, red and green: colours of the query points, RGB in [0, 1]."""
SIDE, DPI = 1.6, 150
"""Inches of a picture, and pixels an inch."""

Pixels = NDArray[np.uint8]


def comparison_png(compared: Comparison) -> bytes:
    """Images, at least one, with their labels and each method's classes, in columns, as a PNG.

    Classes have the same colour in every column; black is void, or a cluster without a class.
    """
    names = ["image", *compared.images[0].columns]
    return _grid(names, [[each.image, *each.columns.values()] for each in compared.images])


def correspondence_png(seed: SeedFigure) -> bytes:
    """Three query points, and what resembles them in their own image and in a neighbour, as a PNG.

    As in the paper, colours are stronger where the cosine is further above the mean.
    """
    (picture, own), *others = seed.heats
    panels = [picture, heated(picture, own), *(heated(*other) for other in others[:1])]
    names = ["query points", "same image", "nearest image"][: len(panels)]
    return _grid(names, [panels], seed.points)


def heated(picture: Pixels, heats: NDArray[np.float32]) -> Pixels:
    """A darkened picture (H, W, 3) under the colours of heats (3, h, w), each at most 1."""
    height, width, _ = picture.shape
    result = 0.8 * picture.astype(np.float64)
    for heat, colour in zip(heats, QUERY_COLOURS, strict=False):
        strength = Image.fromarray(np.clip(heat, 0, 1).astype(np.float32))
        full = np.asarray(strength.resize((width, height), Image.Resampling.BILINEAR))[..., None]
        result = result * (1 - full) + 255 * np.array(colour) * full
    return np.asarray(result.round(), np.uint8)


def _grid(
    names: Sequence[str],
    lines: Sequence[Sequence[Pixels]],
    points: Sequence[tuple[float, float]] = (),
) -> bytes:
    """Pictures in rows under the names of their columns; `points` (y, x) mark the first one."""
    figure = Figure((SIDE * len(names), SIDE * len(lines) + 0.3), layout="constrained")
    grid = figure.subplots(len(lines), len(names), squeeze=False)
    for place, line in zip(grid, lines, strict=True):
        for axes, picture in zip(place, line, strict=True):
            axes.imshow(picture)
            axes.axis("off")
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, fontsize=9, parse_math=False)
    for (y, x), colour in zip(points, QUERY_COLOURS, strict=False):
        grid[0, 0].scatter(x, y, color=[colour], marker="x", s=80, linewidths=3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
