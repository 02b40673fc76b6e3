"""What more clusters than classes give on labelled corpora, and what suggested merges keep of it.

    python benchmarks/class_count.py CORPUS_DIR... --keep DIR --backbone NAME --weights FILE

Arguments, features and heads are those of minima.py, and clusters are made and chosen as there,
patch by patch, without a CRF. The first table has many-to-one mIoU in percent by number of clusters
K, mean over the seeds. Then the most clusters are merged by Ward's hierarchy of their centroids,
weighted by area, as `stego name merge-suggested` does without labels: into groups that keep a share
of the spread, and into as many as classes; and there are as many clusters as classes for
comparison. Each has the number of groups, many-to-one and one-to-one mIoU.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import harness
import minima
import numpy as np
import torch
from minima import Corpus, Vectors
from numpy.typing import NDArray
from torch import nn

from stego_core.clustering import kmeans, merges, silhouette
from stego_core.clustering.silhouette import FEATURES, Minimum
from stego_core.head.head import BesideFeatures
from stego_core.scores import metrics
from tasks.clusters.code_sample import CODES, OBJECTS, SPACES, JudgedTokens, samples_of
from tasks.features.enough_images import CROPS
from tasks.head.heads import BESIDE

COUNTS = (3, 4, 6, 8, 12, 16, 21, 24, 28, 32)
FEW_RESTARTS = 4
"""Restarts in each space, but for the most clusters and for as many as classes."""
KEPT = (0.8, 0.9, 0.95)
"""Shares of the spread."""


class Prepared(NamedTuple):
    """What the clusterings of a corpus and seed share: vectors by space.

    Attributes:
        sampled: vectors that k-means clusters.
        images: vectors of all patches of the labelled images.
        judged: tokens that the choice among minima looks at.
    """

    sampled: dict[str, Vectors]
    images: dict[str, Vectors]
    judged: JudgedTokens


class Clusters(NamedTuple):
    """Centroids (K, D), and labelled pixels (classes, K) of each cluster."""

    centroids: Vectors
    counts: NDArray[np.int64]

    def merged(self, groups: int) -> NDArray[np.int64]:
        """Labelled pixels (classes, groups) after merges."""
        joins = merges.ward(self.centroids, self.counts.sum(axis=0).astype(np.float64))
        ids = merges.groups(joins, len(self.centroids), groups)
        return np.stack([self.counts[:, group].sum(axis=1) for group in ids], axis=1)


@torch.inference_mode()
def prepared(corpus: Corpus, seed: int) -> Prepared:
    """Samples as the clusters stage takes them, and images as they are labelled."""
    head = minima.module(corpus, "mean-shift", seed)
    tokens = int(np.clip(200_000 // len(corpus.patches), 1, corpus.patches[0, ..., 0].numel()))
    rows = [
        samples_of(head, image.float(), tokens, np.random.default_rng([seed, row]))
        for row, image in enumerate(corpus.patches)
    ]
    samples = {name: unit(np.concatenate([row[name] for row in rows])) for name in rows[0]}
    some = np.random.default_rng(seed).permutation(len(samples[CODES]))[:16_384]
    images = np.arange(len(corpus.patches)).repeat(tokens) // CROPS["five"]
    judged = JudgedTokens(samples[CODES][some], samples[FEATURES][some], images[some])
    both = unit(np.concatenate([samples[CODES], samples[FEATURES]], axis=1))
    codes = minima.image_vectors(corpus, head)
    beside = minima.image_vectors(corpus, BesideFeatures(head))
    features = minima.image_vectors(corpus, nn.Identity())
    labelled = {SPACES[0]: codes, OBJECTS: codes, BESIDE: beside, FEATURES: features}
    return Prepared({**samples, BESIDE: both}, labelled, judged)


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(kmeans.unit(vectors), np.float32)


def clusters(corpus: Corpus, made: Prepared, count: int, seed: int, restarts: int) -> Clusters:
    """K clusters, of the minimum that the product would keep."""
    found: list[tuple[Minimum, Vectors]] = []
    for space in SPACES:
        for restart in range(restarts):
            run = kmeans.restart(made.sampled[space], count, seed, restart)
            ids = made.judged.clusters(space, run.centroids)
            judged = (ids, count, made.judged.features, made.judged.images)
            minimum = Minimum.of(space, run.inertia, *judged)
            found.append((minimum, run.centroids))
    (space, *_), start = found[silhouette.chosen([minimum for minimum, _ in found])]
    centroids = kmeans.lloyd(made.sampled[space], start, tolerance=kmeans.FINAL_TOLERANCE).centroids
    labelled = corpus.counts.numpy()
    counts = np.zeros((count, labelled.shape[1]), np.int64)
    np.add.at(counts, (made.images[space] @ centroids.T).argmax(axis=1), labelled)
    return Clusters(centroids, counts.T)


def many(counts: NDArray[np.int64]) -> float:
    """Many-to-one mIoU in percent."""
    return metrics.scores(counts, metrics.majority_match(counts)).miou


def row(counts: NDArray[np.int64]) -> list[float]:
    """Groups, many-to-one mIoU, one-to-one mIoU."""
    return [counts.shape[1], many(counts), metrics.scores(counts, metrics.match(counts)).miou]


def measured(corpus: Corpus, seed: int) -> tuple[list[float], dict[str, list[float]]]:
    """Many-to-one mIoU of each of `COUNTS`, and the rows of the merges, by their name."""
    made, classes, most = prepared(corpus, seed), corpus.counts.shape[1], max(COUNTS)
    by_count = {
        count: clusters(
            corpus, made, count, seed, minima.RESTARTS if count in (most, classes) else FEW_RESTARTS
        )
        for count in sorted({*COUNTS, classes})
    }
    joins = merges.ward(by_count[most].centroids, by_count[most].counts.sum(axis=0).astype(float))
    groups = {f"keeping {share:.0%}": merges.count_that_keeps(joins, most, share) for share in KEPT}
    groups["as many as classes"] = classes
    rows = {name: row(by_count[most].merged(count)) for name, count in groups.items()}
    rows[f"{most} clusters"] = row(by_count[most].counts)
    rows["clusters as classes"] = row(by_count[classes].counts)
    return [many(by_count[count].counts) for count in COUNTS], rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    minima.add_arguments(parser)
    chosen = parser.parse_args()
    outcome: dict[str, dict[str, object]] = {}
    for folder in chosen.corpora:
        corpus = minima.prepared(Path(folder), chosen)
        found = [measured(corpus, seed) for seed in range(chosen.seeds)]
        curve = np.mean([by_count for by_count, _ in found], axis=0)
        texts = (f"{count}: {value:.1f}" for count, value in zip(COUNTS, curve, strict=True))
        print(f"{folder.name:14}many-to-one, K {'  '.join(texts)}", flush=True)
        rows = {name: np.mean([each[name] for _, each in found], axis=0) for name in found[0][1]}
        for name, (groups, many_to_one, one_to_one) in rows.items():
            print(f"{folder.name:14}{name:22}{groups:6.1f}{many_to_one:7.1f}{one_to_one:7.1f}")
        outcome[folder.name] = {"curve": curve.tolist(), **{n: r.tolist() for n, r in rows.items()}}
    harness.write("class_count", {"miou": outcome, "machine": harness.machine()})


if __name__ == "__main__":
    main()
