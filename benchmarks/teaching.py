"""What lessons do, through the command line: a simulated person clicks, others' images are scored.

    python benchmarks/teaching.py CORPUS_DIR... --rounds 5 --clicks 20 [any option of `stego run`]

A corpus folder is as in quality.py. `stego run` labels at most `--limit` of its images. The person
sees every second one and, in each round, clicks the middles of the `--clicks` largest regions that
have one wrong class, and says what they are; `stego teach` learns them. The images that nobody
clicked on are scored after each round, by the names of the classes, CRF included. With `--keep DIR`
the workspaces stay there; lessons of an earlier call count.
"""

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
from numpy.typing import NDArray
from quality import files_of, sample, stego
from scipy import ndimage

from stego_core.labels.void import VOID_BYTE
from stego_core.scores import metrics
from tasks.class_names.classes_file import current_names
from tasks.corpus.index import IndexReader
from tasks.images.image_codecs import decode_mask
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

DUMP = "corpus"


class Seen(NamedTuple):
    """An image as the person sees it.

    Attributes:
        path: as listed.
        labels, masks: (H, W) int64 classes of the taxonomy, −1 for none.
    """

    path: str
    labels: NDArray[np.int64]
    masks: NDArray[np.int64]


class Click(NamedTuple):
    """A point of the file that `stego teach` reads."""

    image: str
    x: int
    y: int
    cls: str


def seen(workspace: Workspace, classes: list[str]) -> list[Seen]:
    """Every labelled image with its current mask, whose classes are known by their names."""
    index, key = IndexReader(workspace, DUMP), workspace.last_run()["keys"]["masks"]
    numbers = {name.casefold(): number for number, name in enumerate(classes)}
    names = current_names(workspace).classes.names()
    table = np.full(256, -1, np.int64)
    table[: len(names)] = [numbers.get(name.casefold(), -1) for name in names]
    found = []
    for entry in index.entries(np.arange(index.manifest["images"])):
        path = layout.mask(layout.masks(key, DUMP), entry["image_id"])
        mask, labels = decode_mask(workspace.storage.read(path)), index.labels(entry)
        assert labels is not None
        known = np.where(mask == VOID_BYTE, -1, labels)
        found.append(Seen(entry["path"], known.astype(np.int64), table[mask]))
    return found


def clicks(images: list[Seen], classes: list[str], count: int) -> list[Click]:
    """The middles of the largest wrong regions, each of one class."""
    regions = []
    for image in images:
        wrong = (image.labels >= 0) & (image.masks != image.labels)
        for cls in np.unique(image.labels[wrong]):
            parts, _ = ndimage.label(wrong & (image.labels == cls))
            for number, size in enumerate(np.bincount(parts.ravel())[1:], 1):
                regions.append((int(size), image, int(cls), number))
    regions.sort(key=lambda region: -region[0])
    found = []
    for _, image, cls, number in regions[:count]:
        wrong = (image.labels == cls) & (image.masks != image.labels)
        parts, _ = ndimage.label(wrong)
        inside = ndimage.distance_transform_edt(np.pad(parts == number, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        found.append(Click(image.path, int(x), int(y), classes[cls]))
    return found


def scored(images: list[Seen], classes: int) -> tuple[float, float]:
    """Accuracy and mIoU in percent; a pixel without a known class counts as wrong."""
    confusion = metrics.Confusion(classes, classes + 1)
    for image in images:
        confusion.add(image.labels, np.where(image.masks < 0, classes, image.masks))
    matched = np.array([*range(classes), -1])
    return metrics.scores(confusion.counts, matched)[:2]


def taught(workspace: Path, points: list[Click], folder: Path) -> None:
    """Teach points through the command line."""
    file = folder / "points.csv"
    with file.open("w", newline="") as sink:
        rows = csv.writer(sink)
        rows.writerow(["image", "x", "y", "class"])
        rows.writerows(points)
    stego("teach", str(file), "--workspace", str(workspace))


def rounds_of(
    corpus: Path, folder: Path, chosen: argparse.Namespace, options: list[str]
) -> list[tuple[float, float]]:
    """Figures before the first round and after each."""
    workspace = folder / f"{corpus.name}-workspace"
    data = sample(corpus, files_of(corpus), chosen.limit, folder / corpus.name)
    classes = json.loads((data / "taxonomy.json").read_text())["classes"]
    stego(
        "run", "--images", str(data / "imgs"), "--labels", str(data / "labels"), "--taxonomy",
        str(data / "taxonomy.json"), "--dump", DUMP, "--workspace", str(workspace), "--classes",
        str(len(classes)), "--no-linear-probe", "--no-baseline", "--no-overlays", *options,
    )  # fmt: skip
    figures = []
    for number in range(chosen.rounds + 1):
        images = seen(Workspace.open(str(workspace)), classes)
        figures.append(scored(images[1::2], len(classes)))
        accuracy, miou = figures[-1]
        text = f"{corpus.name:14}{number * chosen.clicks:6} clicks {accuracy:6.1f} / {miou:.1f}"
        print(text, flush=True)
        if number < chosen.rounds:
            taught(workspace, clicks(images[::2], classes, chosen.clicks), folder)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clicks", type=int, default=20, help="of each round")
    parser.add_argument("--limit", type=int, default=120, help="images of each corpus")
    parser.add_argument("--keep", type=Path, help="folder for the workspaces; default: none stays")
    chosen, options = parser.parse_known_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for corpus in chosen.corpora:
            found[corpus.name] = rounds_of(corpus, folder, chosen, options)
    harness.write("teaching", {"curves": found, "machine": harness.machine(), "options": sys.argv})


if __name__ == "__main__":
    main()
