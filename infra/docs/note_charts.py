"""Charts of figures that stand in tables of the notes, so that both say the same."""

import re
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from stego_core.scores.drift import FEATURES_THRESHOLD as THRESHOLD

ORANGE, BLUE, BAR = "#c8500a", "#1f77b4", "#f2b48a"


def make(notes: Path, folder: Path) -> Iterator[Path]:
    """Write each chart into a folder; gives its path."""
    for name, chart in (("smoothing", _smoothing), ("drift", _drift)):
        path = folder / f"{name}.png"
        chart((notes / f"{name}.md").read_text()).savefig(path, dpi=100)
        yield path


def table(text: str, header: str) -> list[list[str]]:
    """The cells of the rows below the first header that begins so."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.startswith(f"| {header}"))
    next(lines)  # the line below the header
    rows = list[list[str]]()
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def numbers(cell: str) -> list[float]:
    """The numbers of a cell, such as `−0.03 to 0.05`."""
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", cell.replace("−", "-"))]


def _smoothing(text: str) -> Figure:
    rows = table(text, "`--smooth-frames`")
    frames, inconsistency, _, miou = zip(
        *([numbers(c)[0] for c in row] for row in rows), strict=True
    )
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(frames, inconsistency, color=ORANGE, marker="o")
    for x, y, score in zip(frames, inconsistency, miou, strict=True):
        axes.annotate(f"mIoU {score}", (x, y), (6, 6), textcoords="offset points")
    axes.set(xlabel="--smooth-frames", xticks=frames, xlim=(-0.1, max(frames) + 0.5))
    axes.set(ylabel="temporal inconsistency, %", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _drift(text: str) -> Figure:
    rows = table(text, "new images")
    rows.sort(key=lambda row: -numbers(row[1])[0])
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, whole, some, *_) in enumerate(rows):
        low, high = numbers(some)
        colour = ORANGE if numbers(whole)[0] >= THRESHOLD else BLUE
        axes.barh(place, high - low, left=low, height=0.4, color=BAR)
        axes.plot(numbers(whole)[0], place, "o", color=colour)
        axes.text(-0.4, place, name.partition(":")[0], ha="right", va="center", size=9)
    axes.axvline(THRESHOLD, color="black", lw=0.8)
    axes.text(THRESHOLD + 0.1, len(rows) - 0.6, f"threshold {THRESHOLD}", size=8)
    axes.set(
        yticks=[], xlim=(-0.3, None), xlabel="`features` of a dump; bars: 100 draws of 20 images"
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
