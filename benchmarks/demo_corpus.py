"""Speed of the demo corpus generator, and how far colour alone gets on its scenes."""

import argparse
import sys
import time
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a bare checkout too

from stego_core.scenes import SCENE_CLASSES, VOID, scene, scene_generator

Pixels = NDArray[np.float32]
Ids = NDArray[np.int64]


def sampled_corpus(seed: int, scenes: int, step: int) -> tuple[Pixels, Ids, float]:
    """Every `step`-th pixel: colours (n, 3) in 0..255, labels (n,), and seconds spent drawing."""
    colours, labels, seconds = [], [], 0.0
    for index in range(scenes):
        start = time.perf_counter()
        image, truth = scene(scene_generator(seed, index))
        seconds += time.perf_counter() - start
        colours.append(image.reshape(-1, 3)[::step])
        labels.append(truth.reshape(-1)[::step])
    stacked = np.concatenate(labels).astype(np.int64)
    keep = stacked != VOID
    return np.concatenate(colours)[keep].astype(np.float32), stacked[keep], seconds


def squared_distances(points: Pixels, centroids: Pixels) -> Pixels:
    """Squared distances (n, k) of points (n, 3) to centroids (k, 3)."""
    return np.stack([((points - centroid) ** 2).sum(1) for centroid in centroids], 1)


def seeded_centroids(points: Pixels, clusters: int, generator: np.random.Generator) -> Pixels:
    """Centroids (k, 3) chosen as k-means++ does: far points are likelier."""
    centroids = points[generator.integers(len(points), size=1)]
    while len(centroids) < clusters:
        weight = squared_distances(points, centroids).min(1).astype(np.float64)
        chosen = generator.choice(len(points), size=1, p=weight / weight.sum())
        centroids = np.concatenate([centroids, points[chosen]])
    return centroids


def kmeans(points: Pixels, clusters: int, generator: np.random.Generator) -> tuple[Ids, float]:
    """Lloyd's iterations from k-means++ seeds: the assignment (n,) and its inertia."""
    centroids = seeded_centroids(points, clusters, generator)
    for _ in range(60):
        square = squared_distances(points, centroids)
        assigned = square.argmin(1)
        counts = np.maximum(np.bincount(assigned, minlength=clusters), 1)
        sums = [np.bincount(assigned, points[:, axis], clusters) for axis in range(3)]
        moved = (np.stack(sums, 1) / counts[:, None]).astype(np.float32)
        settled = np.abs(moved - centroids).max() < 0.05
        centroids = moved
        if settled:
            break
    return assigned, float(square.min(1).sum(dtype=np.float64))


def matched_scores(assigned: Ids, labels: Ids, classes: int) -> tuple[float, float]:
    """Accuracy and mIoU in percent under the matching of clusters to classes that hits most.

    All `classes`! matchings are tried: that is 5040 for seven, and needs no solver.
    """
    table = np.bincount(assigned * classes + labels, minlength=classes**2).reshape(classes, classes)
    matchings = np.asarray(list(permutations(range(classes))))  # class i's cluster
    best = matchings[table[matchings, np.arange(classes)].sum(1).argmax()]
    hits = table[best, np.arange(classes)]
    union = table.sum(0) + table.sum(1)[best] - hits
    shared = hits[union > 0] / union[union > 0]
    return 100.0 * float(hits.sum() / table.sum()), 100.0 * float(shared.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=120, help="scenes to draw")
    parser.add_argument("--seed", type=int, default=0, help="seed of the corpus and of k-means")
    parser.add_argument("--restarts", type=int, default=5, help="k-means runs; best inertia wins")
    parser.add_argument("--step", type=int, default=37, help="score every n-th pixel")
    options = parser.parse_args()
    points, labels, seconds = sampled_corpus(options.seed, options.scenes, options.step)
    generator = np.random.default_rng(options.seed)
    classes = len(SCENE_CLASSES)
    runs = [kmeans(points, classes, generator) for _ in range(options.restarts)]
    accuracy, miou = matched_scores(min(runs, key=lambda run: run[1])[0], labels, classes)
    print(f"{'scenes/s':<24}{options.scenes / seconds:8.1f}")
    print(f"{'RGB k-means mIoU %':<24}{miou:8.1f}")
    print(f"{'RGB k-means accuracy %':<24}{accuracy:8.1f}")
    for name, count in zip(SCENE_CLASSES, np.bincount(labels, minlength=classes), strict=True):
        print(f"{'share of ' + name + ' %':<24}{100.0 * count / len(labels):8.1f}")


if __name__ == "__main__":
    main()
