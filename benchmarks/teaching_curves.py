"""Lessons against classifiers of clicks, patch by patch: accuracy and mIoU over the clicks.

    python benchmarks/teaching_curves.py CORPUS_DIR... --keep DIR --backbone NAME --weights FILE

Features, heads and clusters are those of minima.py, in the same `--keep`. Every second image is
shown to people (of a corpus whose name is in `--in-order`, the first half: neighbouring frames are
alike); the others are scored, patch by patch and without CRF. Rows:

- `lessons`: a simulated person clicks the middles of the largest wrong regions, 20 in a round (10
  in the first two); clusters are the prior, and are called what they match before the first click.
- `random, logistic`: as many patches drawn at random, alike of each class, and logistic regression
  on features and codes, as a person would do with the features alone.
- `random, forest`: the same patches and a random forest on the features, convpaint's recipe.
- `all labels`: logistic regression on all labelled patches of the same images, the linear bound.

The last lines are the share of the gap between no click and all labels that is closed, and the
worst change at any number of clicks.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
from minima import SPACES, Corpus, add_arguments, candidates, module, prepared, separated
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from stego_core.clustering.kmeans import unit
from stego_core.scores import metrics
from stego_core.teaching.patch_graph import PatchGraph, Projection
from stego_core.teaching.propagation import Lessons, Propagation, cluster_prior
from stego_core.teaching.taught_classes import TaughtClasses
from tasks.teaching.graph import NODES

ROUNDS = (10, 10, *[20] * 9, *[100] * 8)
"""Clicks of each round, 1,000 together."""
TOLD = (10, 20, 40, 60, 80, 100, 200, 600, 1000)
"""Clicks of which figures are printed."""
RIVALS = ("random, logistic", "random, forest")
FOREST_TREES = 100

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Predict = Callable[[Rows, Rows], Rows]
"""The class of every patch, from patches that were clicked and their classes."""


class Taught(NamedTuple):
    """A corpus as the curves need it.

    Attributes:
        features, codes: (patches, C) and (patches, D) float32 of norm 1.
        cosines: (patches, K) with the centroids, the column of a class being its cluster's.
        counts: (patches, classes) labelled pixels.
        truth: (patches,) the class that most of them have, −1 without any.
        images: (patches,) the image of each.
        grids: (height, width) of each image.
        shown: (patches,) whether people see the image.
    """

    features: Vectors
    codes: Vectors
    cosines: Vectors
    counts: Rows
    truth: Rows
    images: Rows
    grids: list[tuple[int, int]]
    shown: NDArray[np.bool_]

    def scores(self, predicted: Rows) -> tuple[float, float]:
        """Accuracy and mIoU in percent, of images that nobody sees."""
        classes = self.counts.shape[1]
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion.T, predicted[~self.shown], self.counts[~self.shown])
        return metrics.scores(confusion, np.arange(classes))[:2]


def read(corpus: Corpus, seed: int, in_order: bool) -> Taught:
    """Of features and heads of a seed, with the clusters that the product would choose."""
    chosen = separated(candidates(corpus, "mean-shift", SPACES, seed))
    head = module(corpus, "mean-shift", seed)
    features, codes, grids = [], [], []
    for views in corpus.views:
        both = views.float()
        grids.append((both.shape[1], both.shape[2]))
        for parts, maps in ((features, both.numpy()), (codes, head(both).detach().numpy())):
            parts.append(np.asarray(unit(maps.mean(axis=0).reshape(-1, maps.shape[-1]))))
    sizes = [height * width for height, width in grids]
    images, counts = np.repeat(np.arange(len(grids)), sizes), corpus.counts.numpy()
    shown = images < len(grids) // 2 if in_order else images % 2 == 0
    confusion = np.zeros((counts.shape[1], counts.shape[1]), np.int64)
    np.add.at(confusion, chosen.cosines.argmax(axis=1)[shown], counts[shown])
    clusters, classes = linear_sum_assignment(confusion, maximize=True)
    truth = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    cosines = chosen.cosines[:, clusters[np.argsort(classes)]]
    both_parts = (np.concatenate(parts).astype(np.float32) for parts in (features, codes))
    return Taught(*both_parts, cosines, counts, truth, images, grids, shown)


def lessons(taught: Taught) -> Predict:
    """What the product makes of clicks."""
    draw = np.random.default_rng(0)
    nodes = np.sort(draw.permutation(np.flatnonzero(taught.shown))[:NODES])
    projection = Projection.of(taught.features[nodes])
    graph = PatchGraph.of(projection(taught.features[nodes]))
    classes = taught.counts.shape[1]
    propagation = Propagation.of(graph, cluster_prior(taught.cosines[nodes], classes))

    def predict(patches: Rows, labels: Rows) -> Rows:
        taught_patches = Lessons(projection(taught.features[patches]), labels)
        model = TaughtClasses(projection, graph.positions, propagation.taught(taught_patches))
        return np.asarray(model(taught.features).argmax(axis=-1))

    return predict


def clicked(taught: Taught, predicted: Rows, count: int, before: set[int]) -> list[int]:
    """Patches in the middle of the largest regions of one wrong class that nobody clicked."""
    regions = []
    firsts = np.searchsorted(taught.images, np.arange(len(taught.grids)))
    for first, grid in zip(firsts, taught.grids, strict=True):
        if not taught.shown[first]:
            continue
        span = slice(first, first + grid[0] * grid[1])
        truth, own = taught.truth[span].reshape(grid), predicted[span].reshape(grid)
        wrong = (truth >= 0) & (truth != own)
        for cls in np.unique(truth[wrong]):
            parts, _ = ndimage.label(wrong & (truth == cls))
            for number, size in enumerate(np.bincount(parts.ravel())[1:], 1):
                depth = ndimage.distance_transform_edt(np.pad(parts == number, 1))[1:-1, 1:-1]
                regions.append((int(size), int(first + depth.argmax())))
    regions.sort(reverse=True)
    return [patch for _, patch in regions if patch not in before][:count]


def taught_curve(taught: Taught) -> list[tuple[float, float]]:
    """Scores before the first click and after each round."""
    predict, patches = lessons(taught), list[int]()
    predicted = taught.cosines.argmax(axis=1)
    curve = [taught.scores(predicted)]
    for count in ROUNDS:
        patches += clicked(taught, predicted, count, set(patches))
        rows = np.array(patches, np.int64)
        predicted = predict(rows, taught.truth[rows])
        curve.append(taught.scores(predicted))
    return curve


def random_curve(taught: Taught, seed: int, fit: Callable[..., Any], inputs: Vectors) -> Any:
    """Scores of a classifier of as many random patches, alike of each class."""
    draw, curve, total = np.random.default_rng(seed), [], 0
    known = np.flatnonzero(taught.shown & (taught.truth >= 0))
    of_class = [draw.permutation(known[taught.truth[known] == c]) for c in np.unique(taught.truth)]
    of_class = [rows for rows in of_class if len(rows)]
    for count in ROUNDS:
        total += count
        if total not in TOLD:
            curve.append((float("nan"), float("nan")))
            continue
        each = -(-total // len(of_class))
        rows = np.concatenate([part[:each] for part in of_class])
        rows = draw.permutation(rows)[:total] if total > len(of_class) else rows[:total]
        labels = taught.truth[rows]
        if len(np.unique(labels)) == 1:
            curve.append(taught.scores(np.full(len(inputs), labels[0])))
            continue
        curve.append(taught.scores(fit().fit(inputs[rows], labels).predict(inputs)))
    return curve


def bound(taught: Taught, inputs: Vectors) -> tuple[float, float]:
    """Scores of the linear classifier that knows all labels."""
    rows = np.flatnonzero(taught.shown & (taught.truth >= 0))
    fitted = LogisticRegression(C=10, max_iter=100).fit(inputs[rows], taught.truth[rows])
    return taught.scores(fitted.predict(inputs))


def curves(taught: Taught, seed: int) -> dict[str, Any]:
    """All rows of a corpus and a seed."""
    both = 7 * np.concatenate([taught.features, taught.codes], axis=1)
    linear = random_curve(taught, seed, lambda: LogisticRegression(C=10, max_iter=200), both)
    forest = random_curve(
        taught, seed, lambda: RandomForestClassifier(FOREST_TREES, random_state=0), taught.features
    )
    return {
        "lessons": taught_curve(taught),
        "random, logistic": linear,
        "random, forest": forest,
        "all labels": bound(taught, both),
    }


def told(name: str, seed: int, rows: dict[str, Any]) -> None:
    """Print the curves, and what they come to."""
    totals = np.cumsum(ROUNDS)
    own, most = np.array(rows["lessons"]), np.array(rows["all labels"])
    closed = (own[1:] - own[0]) / (most - own[0])
    for number, total in enumerate(totals):
        if total not in TOLD:
            continue
        figures = [
            own[number + 1],
            *(rows[r][number] for r in ("random, logistic", "random, forest")),
        ]
        text = "   ".join(f"{a:5.1f} /{m:5.1f}" for a, m in figures)
        share = "{:.2f} {:.2f}".format(*closed[number])
        print(f"{name:12}{seed} {total:5} {text}   closed {share}")
    (a0, m0), (a1, m1) = own[0], most
    worst = (own[1:] - own[0]).min(axis=0)
    print(
        f"{name:12}{seed} no click {a0:.1f} / {m0:.1f}, all labels {a1:.1f} / {m1:.1f}; worst "
        f"change {worst[0]:+.1f} / {worst[1]:+.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--curves", type=int, help="of so many of the seeds; default: all")
    parser.add_argument("--in-order", nargs="*", default=["camvid"], help="names of corpora")
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    for folder in map(Path, chosen.corpora):
        corpus = prepared(folder, chosen)
        for seed in range(chosen.curves or chosen.seeds):
            rows = curves(read(corpus, seed, folder.name in chosen.in_order), seed)
            told(folder.name, seed, rows)
            found[f"{folder.name}-{seed}"] = rows
    harness.write("teaching_curves", {"clicks": np.cumsum(ROUNDS).tolist(), "curves": found})


if __name__ == "__main__":
    main()
