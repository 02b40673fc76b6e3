"""Pictures of the explorer, one of them moving: a click, and the patches that resemble it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from browser import Page, explored
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from sheets import save

from tasks.corpus.index import IndexReader
from tasks.workspace.workspace import Workspace

DUMP = "scenes"
CLICKED = ("tree", "car", "road")
"""What is clicked in the moving picture, one after the other."""
WINDOW = (1200, 750)
MOVING = (1100, 720)
MOVING_WIDTH = 880
"""Of the moving picture's window, and of the picture itself, pixels."""
STEPS, PAUSE, STEP, PRESSED, RESULT = 8, 900, 60, 160, 2200
"""Frames of the pointer's way; milliseconds of the first picture, of each of those frames, of the
click, of its result."""
SHARED_COLOURS = 96
"""Colours of all frames of the moving picture together."""
ARROW = ((0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12))


class Target(NamedTuple):
    """A pixel well inside an object of the image."""

    x: int
    y: int
    width: int  # of the image, pixels
    height: int


def make(workspace: Workspace, folder: Path) -> Iterator[Path]:
    """Write each picture into a folder; gives its path."""
    row, targets = chosen(workspace)
    link = f"#/image/{DUMP}/{row}"
    asked = f"{link}?y={targets[0].y}&x={targets[0].x}"
    with explored(str(workspace.storage.uri)) as page:
        page.open("#/gallery", WINDOW)
        page.loaded(".tile img")
        yield stored(page, folder / "explorer-gallery.png")
        page.open(asked, WINDOW, dark=True)
        page.loaded("#matches img")
        yield stored(page, folder / "explorer-image.png")
        page.open("#/codes", (1280, 800))
        page.until("/principal axes/.test(document.querySelector('#explained').textContent)")
        yield stored(page, folder / "explorer-codes.png")
        page.open(asked, (360, 740), scale=1.5)
        page.loaded("#matches img")
        yield stored(page, folder / "explorer-phone.png")
        page.open(link, MOVING)
        page.loaded("#photo")
        path = folder / "click.gif"
        moving(page, targets, path)
        yield path


def stored(page: Page, path: Path) -> Path:
    """Store what the window shows; gives the path."""
    save(page.shot(), path)
    return path


def chosen(workspace: Workspace) -> tuple[int, list[Target]]:
    """The image whose smallest object among those to be clicked is thickest, and a pixel deep
    inside each of them.
    """
    index = IndexReader(workspace, DUMP)
    classes = [index.taxonomy().classes.index(name) for name in CLICKED]
    rows = np.arange(index.manifest["images"])
    depths = []
    for entry in index.entries(rows):
        labels = index.labels(entry)
        assert labels is not None, "the demo's scenes are labelled"
        depths.append([deepest(labels == cls) for cls in classes])
    row = int(np.argmax([min(depth for depth, _, _, _ in found) for found in depths]))
    return row, [Target(x, y, *size) for _, y, x, size in depths[row]]


def deepest(mask: NDArray[np.bool_]) -> tuple[float, int, int, tuple[int, int]]:
    """Distance from the edge of the pixel farthest from it, its y and x, width and height."""
    distances = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(distances), mask.shape)
    return float(distances[y, x]), int(y), int(x), (mask.shape[1], mask.shape[0])


def moving(page: Page, targets: list[Target], path: Path) -> None:
    """The pointer goes from object to object and clicks; then heat and matches are shown."""
    frames, times = [page.shot()], [PAUSE]
    at = np.array([0.92 * MOVING[0], 0.9 * MOVING[1]])
    for target in targets:
        before, goal, asked = page.shot(), _seen_at(page, target), page.until("location.hash")
        for step in range(1, STEPS + 1):
            part = step / STEPS
            frames.append(pointed(before, at + (goal - at) * part * part * (3 - 2 * part)))
        frames.append(pointed(before, goal, pressed=True))
        page.click(*goal)
        page.until(f"location.hash !== '{asked}'")
        page.loaded("#matches img")
        at = _seen_at(page, target)  # the image is smaller now
        frames.append(pointed(page.shot(), at))
        times += [STEP] * STEPS + [PRESSED, RESULT]
    save_moving(frames, times, path)


def _seen_at(page: Page, target: Target) -> NDArray[np.float64]:
    """x and y in the window of an image's pixel."""
    place = page.place("#photo")
    share = np.array([(target.x + 0.5) / target.width, (target.y + 0.5) / target.height])
    return share * (place["width"], place["height"]) + (place["left"], place["top"])


def pointed(window: Image.Image, at: NDArray[np.float64], pressed: bool = False) -> Image.Image:
    """The window with a pointer, which headless browsers do not draw."""
    picture, (x, y) = window.copy(), at
    draw = ImageDraw.Draw(picture)
    if pressed:
        draw.ellipse((x - 14, y - 14, x + 14, y + 14), outline="white", width=3)
    draw.polygon([(x + a, y + b) for a, b in ARROW], fill="black", outline="white")
    return picture


def save_moving(frames: list[Image.Image], times: list[int], path: Path) -> None:
    """A GIF of one palette: what does not change between two frames then takes no room."""
    size = MOVING_WIDTH, round(MOVING_WIDTH * MOVING[1] / MOVING[0])
    frames = [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]
    shown = Image.new("RGB", (size[0], size[1] * len(frames)))
    for number, frame in enumerate(frames):
        shown.paste(frame, (0, number * frame.height))
    palette = shown.quantize(SHARED_COLOURS, method=Image.Quantize.MEDIANCUT)
    plain = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    plain[0].save(
        path, save_all=True, append_images=plain[1:], duration=times, loop=0, optimize=False
    )
