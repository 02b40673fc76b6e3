"""Pictures of Teach mode, one of them moving: two points, what they change, and some questions."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from browser import Page, explored
from explorer_pictures import MOVING, deepest, pointed, save_moving, stored
from scipy import ndimage

from tasks.class_names.classes_file import current_names
from tasks.corpus.index import IndexReader
from tasks.images.image_codecs import decode_mask
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

WINDOW = (1280, 800)
QUESTIONS = 4
STEPS, STEP, PRESSED, RESULT, START = 8, 60, 160, 1900, 1000
"""Frames of the pointer's way; milliseconds of each, of a click, of a result, of the first."""
USABLE = (
    "!document.querySelector('#ask-open').disabled && document.querySelector('#taught').width > 8"
)


class Wrong(NamedTuple):
    """The middle of a region that the masks have wrong, and what it is."""

    size: int
    row: int
    x: int
    y: int
    width: int
    height: int
    name: str


def make(workspace: Workspace, folder: Path) -> Iterator[Path]:
    """Write each picture into a folder; gives its path. What is taught goes into a copy."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(workspace.storage.uri, Path(scratch, "demo"))
        copy = Workspace.open(str(Path(scratch, "demo")))
        targets = wrong(copy)
        with explored(str(copy.storage.uri)) as page:
            frames, times = taught(page, targets, MOVING)
            questions(page, copy, frames, times)
            save_moving(frames, times, folder / "teach.gif")
            yield folder / "teach.gif"
            taught(page, targets, WINDOW)
            yield stored(page, folder / "teach-preview.png")


def wrong(workspace: Workspace) -> list[Wrong]:
    """The largest two wrong regions of the image that has the largest second one."""
    (dump, *_), key = workspace.dumps(), workspace.last_run()["keys"]["masks"]
    index = IndexReader(workspace, dump)
    classes = index.taxonomy().classes
    names = [entry.name for entry in current_names(workspace).classes.entries]
    known = np.array([classes.index(name) if name in classes else -1 for name in names])
    found = []
    for row, entry in enumerate(index.entries(np.arange(index.manifest["images"]))):
        labels = index.labels(entry)
        assert labels is not None, "the demo's scenes are labelled"
        path = layout.mask(layout.masks(key, dump), entry["image_id"])
        mask = decode_mask(workspace.storage.read(path))
        differs = (labels >= 0) & (known[np.minimum(mask, len(known) - 1)] != labels)
        regions = [
            _largest(differs & (labels == cls), row, name) for cls, name in enumerate(classes)
        ]
        found.append(sorted(regions, reverse=True)[:2])
    return max(found, key=lambda pair: pair[1].size)


def _largest(region: Any, row: int, name: str) -> Wrong:
    parts, count = ndimage.label(region)
    if not count:
        return Wrong(0, row, 0, 0, region.shape[1], region.shape[0], name)
    sizes = np.bincount(parts.ravel())[1:]
    _, y, x, (width, height) = deepest(parts == 1 + sizes.argmax())
    return Wrong(int(sizes.max()), row, x, y, width, height, name)


def taught(
    page: Page, targets: list[Wrong], window: tuple[int, int]
) -> tuple[list[Any], list[int]]:
    """Frames of two clicks, and their milliseconds."""
    page.open(f"#/image/scenes/{targets[0].row}", window)
    page.loaded("#photo")
    _press(page, "#teach-open")
    page.until(USABLE)
    for slot, target in zip("ab", targets, strict=True):
        page.driver.find_element("css selector", f"#class-{slot}").send_keys(target.name)
    frames, times = [page.shot()], [START]
    at = np.array([0.5 * window[0], 0.9 * window[1]])
    for number, target in enumerate(targets, 1):
        _press(page, f"#slots [value='{number - 1}']")
        before, place = page.shot(), page.place("#photo")
        share = np.array([(target.x + 0.5) / target.width, (target.y + 0.5) / target.height])
        goal = share * (place["width"], place["height"]) + (place["left"], place["top"])
        for step in range(1, STEPS + 1):
            part = step / STEPS
            frames.append(pointed(before, at + (goal - at) * part * part * (3 - 2 * part)))
        frames.append(pointed(before, goal, pressed=True))
        page.click(*goal)
        said = "document.querySelector('#teach-said').textContent"
        page.until(f"/^{number} points?: .*would change/.test({said})")
        page.loaded("#teach-certain img")
        at = goal
        frames.append(pointed(page.shot(), at))
        times += [STEP] * STEPS + [PRESSED, RESULT]
    return frames, times


def questions(page: Page, workspace: Workspace, frames: list[Any], times: list[int]) -> None:
    """Add frames of questions, answered as the labels say."""
    _press(page, "#ask-open")
    for number in range(QUESTIONS + 1):
        told = "document.querySelector('#ask-said').textContent"
        if number:
            page.until(f"/ of the last {number} answers/.test({told})")
        asked = "/^Is the marked place/.test(document.querySelector('#ask-text').textContent)"
        page.until(f"{asked} && document.querySelector('#points .pin')")
        page.loaded("#photo")
        frames.append(page.shot())
        times.append(RESULT)
        if number < QUESTIONS:
            _answer(page, workspace)


def _answer(page: Page, workspace: Workspace) -> None:
    """What the label says of the pixel that is asked about."""
    found = re.search(r"image/(\w+)/(\d+)", page.until("location.hash"))
    assert found is not None
    index = IndexReader(workspace, found[1])
    labels = index.labels(index.entry(int(found[2])))
    assert labels is not None
    place = page.driver.execute_script(
        "return document.querySelector('#points .pin').style.cssText"
    )
    top, left = (float(part) / 100 for part in re.findall(r"(?:top|left): ([\d.]+)%", place))
    label = labels[int(top * labels.shape[0]), int(left * labels.shape[1])]
    name = index.taxonomy().classes[label]
    shown = page.until("document.querySelector('#ask-text').textContent")
    if shown == f"Is the marked place {name}?":
        return _press(page, "#ask-yes")
    _press(page, "#ask-no")
    page.driver.find_element("css selector", "#ask-name").send_keys(f"{name}\n")


def _press(page: Page, selector: str) -> None:
    page.driver.execute_script(f'document.querySelector("{selector}").click()')
