"""Do margins tell where masks are wrong? Of a finished workspace's labelled dump, without a clock.

    python benchmarks/confidence.py --workspace WS --dump val

Errors are counted twice: with clusters matched one to one to the labels' classes, as scores are,
and with each named after the label that most of its pixels have, as by `stego name propose`.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from stego_core import metrics
from stego_core.confidence import SURE
from tasks import confidence, images
from tasks.index import IndexReader
from tasks.summary import Summary
from tasks.workspace.workspace import Workspace

LEAST_PIXELS, LEAST_IMAGES = 0.1, 0.2
"""Shares of the pixels and of the images that are looked at first."""


class Judged(NamedTuple):
    """How well margins find errors.

    Attributes:
        error: share of the labelled pixels that are wrong.
        pixels: error rate among the least certain tenth of the pixels, in parts of `error`.
        doubtful: share of the pixels that are doubtful.
        doubted: error rate among these.
        caught: share of the wrong pixels that lie in the least certain fifth of the images.
        possible: the largest share that any fifth of the images holds.
        random: that share of a fifth drawn at random, its mean, and
        spread: its standard deviation.
    """

    error: float
    pixels: float
    doubtful: float
    doubted: float
    caught: float
    possible: float
    random: float
    spread: float


def judged(
    wrong: list[NDArray[np.bool_]], margins: list[NDArray[np.uint8]], doubt: NDArray[np.float64]
) -> Judged:
    """Judge margins.

    Args:
        wrong: of each image, (n,) which of its labelled pixels are wrong.
        margins: of each image, (n,) uint8 of the same pixels.
        doubt: (images,) of each.
    """
    every, certain = np.concatenate(wrong), np.concatenate(margins)
    error, least = every.mean(), certain.argsort(kind="stable")[: round(LEAST_PIXELS * len(every))]
    doubted = certain < SURE
    counts = np.array([image.sum() for image in wrong])
    first = round(LEAST_IMAGES * len(counts))
    caught = counts[np.argsort(-doubt, kind="stable")[:first]].sum() / counts.sum()
    possible = np.sort(counts)[::-1][:first].sum() / counts.sum()
    figures = (error, every[least].mean() / error, doubted.mean(), every[doubted].mean())
    return Judged(*map(float, (*figures, caught, possible, *by_chance(counts, first))))


def by_chance(counts: NDArray[np.int64], first: int) -> tuple[float, float]:
    """Mean and standard deviation of the share of all errors that `first` random images hold."""
    number = len(counts)
    left = (number - first) / max(number - 1, 1)  # drawn without replacement
    return first / number, float(np.sqrt(first * left) * counts.std() / counts.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--dump", required=True)
    chosen = parser.parse_args()
    summary = Summary(Workspace.open(chosen.workspace))
    folder, scored = summary.folder("masks", chosen.dump), summary.scores(chosen.dump)
    if folder is None or scored is None:
        sys.exit(f"dump {chosen.dump} has no scored masks; run `stego scores` first")
    index = IndexReader(summary.workspace, chosen.dump)
    found, doubt = [], []
    for row in confidence.stream(folder, ("row", "image_id", "doubt")):
        (entry,) = index.entries(np.array([row["row"]]))
        labels = index.labels(entry)
        if labels is None:
            continue
        paths = (
            f"{folder.path}/{row['image_id']}.png",
            confidence.map_path(folder.path, row["image_id"]),
        )
        mask, margins = (images.decode_mask(folder.storage.read(path)) for path in paths)
        known = labels >= 0
        found.append((labels[known], mask[known], margins[known]))
        doubt.append(row["doubt"])
    confusion = np.asarray(scored["confusion"]["stego"])
    for name, matched in (
        ("one to one", np.asarray(scored["matching"]["stego"])),
        ("many to one", metrics.majority_match(confusion)),
    ):
        wrong = [matched[mask] != labels for labels, mask, _ in found]
        result = judged(wrong, [margins for _, _, margins in found], np.array(doubt))
        caught, possible = 100 * result.caught, 100 * result.possible
        print(
            f"{name}: error {100 * result.error:.1f} %; least certain tenth of the pixels "
            f"{result.pixels:.2f} × that; {100 * result.doubtful:.1f} % are doubtful, "
            f"{100 * result.doubted:.1f} % of these wrong; least certain fifth of the {len(found)} "
            f"images holds {caught:.1f} % of the wrong pixels, of at most {possible:.1f} %, "
            f"a random one {100 * result.random:.1f} ± {100 * result.spread:.1f} %"
        )


if __name__ == "__main__":
    main()
