"""What each choice among k-means' minima gives on labelled corpora, patch by patch, in minutes.

    python benchmarks/minima.py CORPUS_DIR... --keep DIR --backbone NAME --weights FILE [--layer N]

A corpus folder is as in quality.py; 120 generated scenes, read with the same backbone, are the last
corpus. Features and heads (the default recipe and the published one, of each seed) are computed
once and kept in `--keep`, so that another choice takes minutes. Clusters are made as the product
makes them. Every patch of an image gets the class of its nearest centroid, no CRF refines it, and
each labelled pixel below it counts. The table has accuracy / mIoU after one-to-one matching, mean
and standard deviation over the seeds; then mean and worst gain over k-means on the raw features,
whose lowest inertia wins. The row `by labels` takes the best of all near minima: nothing that
knows no label can be above it.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from quality import files_of, scenes
from scipy.optimize import linear_sum_assignment
from torch import nn

from stego_core.backbone import vit
from stego_core.clustering import kmeans, silhouette
from stego_core.clustering.silhouette import FEATURES, Minimum
from stego_core.head import training
from stego_core.head.batches import TrainingSet, plain
from stego_core.head.head import BesideFeatures, Head, MeanShiftHead
from stego_core.images.geometry import inference_size, resize, training_crops
from tasks.clusters.code_sample import CODES, SPACES, JudgedTokens, samples_of
from tasks.features.backbones import weights_from_file
from tasks.features.enough_images import CROPS
from tasks.head.heads import BESIDE
from tasks.head.mean_shift_reader import shifted
from tasks.head.stage import recipe_of
from tasks.options import HeadOptions

RAW, SHIFTED, PUBLISHED = "k-means, raw features", "k-means, shifted features", "recipe stego"
RESTARTS = 10
LABELLED = 448
"""Pixels of the short side at which the backbone reads an image, as `--resolution`."""

Vectors = NDArray[np.float32]


class Corpus(NamedTuple):
    """What is computed once of a corpus.

    Attributes:
        patches: (rows, h, w, C) float16 features of the training crops.
        views: features (2, h, w, C) float16 of each image and of its mirrored twin, mirrored back.
        counts: (patches of all images, classes) labelled pixels below each patch.
        heads: parameters of the heads, by recipe and seed.
    """

    patches: torch.Tensor
    views: list[torch.Tensor]
    counts: torch.Tensor
    heads: dict[tuple[str, int], dict[str, torch.Tensor]]


class Candidate(NamedTuple):
    """A minimum of k-means, what it would score (accuracy and mIoU in percent), and the cosines
    (patches of all images, K) with its centroids.
    """

    minimum: Minimum
    scores: tuple[float, float]
    cosines: Vectors


def prepared(folder: Path, chosen: argparse.Namespace) -> Corpus:
    """A corpus' features and heads, from `--keep` if they are there."""
    file = chosen.keep / f"{folder.name}-{chosen.limit}-{chosen.layer}-{chosen.seeds}.pt"
    if not file.exists():
        chosen.keep.mkdir(parents=True, exist_ok=True)
        torch.save(tuple(computed(folder, chosen)), file)
    return Corpus(*torch.load(file, weights_only=True))


def computed(folder: Path, chosen: argparse.Namespace) -> Corpus:
    """Features of at most `--limit` images, spread evenly, and heads trained on their crops."""
    model = vit.bare_model(chosen.backbone)
    vit.load_weights(model, weights_from_file(chosen.weights))
    backbone = vit.freeze(model, chosen.layer, "cpu", precision="bfloat16")
    classes = len(json.loads((folder / "taxonomy.json").read_text())["classes"])
    files = files_of(folder)
    crops, views, counts = [], [], []
    for at in np.linspace(0, len(files) - 1, min(chosen.limit, len(files))).astype(int):
        image = np.asarray(Image.open(files[at]).convert("RGB"))
        labels = np.asarray(Image.open(folder / "labels" / f"{files[at].stem}.png"))
        side = resize(image, *inference_size(*image.shape[:2], LABELLED, backbone.patch))
        both = backbone.features(np.stack([side, side[:, ::-1]]))
        twins = np.stack([both[0], both[1][:, ::-1]]).astype(np.float16)
        views.append(torch.from_numpy(twins))
        counts.append(pixels_below(labels, both.shape[1:3], classes))
        crops.append(backbone.features(training_crops(image, 224, True)).astype(np.float16))
    patches = np.concatenate(crops)
    heads = {
        (recipe, seed): trained(patches, recipe, seed)
        for recipe in ("mean-shift", "stego")
        for seed in range(chosen.seeds)
    }
    below = torch.from_numpy(np.concatenate(counts))
    return Corpus(torch.from_numpy(patches), views, below, heads)


def pixels_below(labels: NDArray[Any], grid: tuple[int, int], classes: int) -> NDArray[np.int64]:
    """(patches, classes) how many pixels of each class lie below each patch of an image."""
    rows, columns = (np.arange(n) * cells // n for n, cells in zip(labels.shape, grid, strict=True))
    patch = rows[:, None] * grid[1] + columns
    known = labels < classes
    counts = np.zeros((grid[0] * grid[1], classes), np.int64)
    np.add.at(counts, (patch[known], labels[known]), 1)
    return counts


def trained(patches: NDArray[np.float16], recipe: str, seed: int) -> dict[str, torch.Tensor]:
    """Parameters of a head of the product's defaults."""
    pooled = kmeans.unit(vit.pooled(patches).astype(np.float32))
    similar = pooled @ pooled.T
    np.fill_diagonal(similar, np.inf)
    neighbours = np.argsort(-similar, axis=1)[:, 1:8]
    images = shifted(patches) if recipe == "mean-shift" else plain(patches)

    def read(rows: NDArray[np.int64]) -> Any:
        weights = None if images.weights is None else images.weights[rows]
        return images._replace(patches=images.patches[rows], weights=weights)

    data = TrainingSet(read, np.arange(len(patches)), neighbours)
    options = recipe_of(HeadOptions(recipe=recipe, seed=seed), "float32")
    shifts = training.measured_shifts(data, options).shifts
    state = training.start(patches.shape[-1], 70, 0.1, options, shifts, "cpu")
    steps = (
        training.prepare_step(data, options, shifts, "cpu", step) for step in range(options.steps)
    )
    for _ in training.train(state, options, steps):
        pass
    return dict(state.average.state_dict())


def module(corpus: Corpus, method: str, seed: int) -> nn.Module:
    """What makes the vectors that a method clusters."""
    if method in (RAW, SHIFTED):
        return nn.Identity() if method == RAW else MeanShiftHead(nn.Identity())
    recipe = "stego" if method == PUBLISHED else "mean-shift"
    parameters = corpus.heads[recipe, seed]
    head = Head(corpus.patches.shape[-1], len(parameters["linear.weight"]))
    head.load_state_dict(parameters)
    return (head if method == PUBLISHED else MeanShiftHead(head)).eval()


@torch.inference_mode()
def candidates(corpus: Corpus, method: str, spaces: tuple[str, ...], seed: int) -> list[Candidate]:
    """The minima of k-means in some spaces of a method."""
    head, classes = module(corpus, method, seed), corpus.counts.shape[1]
    tokens = int(np.clip(200_000 // len(corpus.patches), 1, corpus.patches[0, ..., 0].numel()))
    drawn = [
        samples_of(head, image.float(), tokens, np.random.default_rng([seed, row]))
        for row, image in enumerate(corpus.patches)
    ]
    samples = {n: kmeans.unit(np.concatenate([d[n] for d in drawn])) for n in drawn[0]}
    images = np.arange(len(corpus.patches)).repeat(tokens) // CROPS["five"]
    some = np.random.default_rng(seed).permutation(len(images))[:16_384]
    features = samples.get(FEATURES, samples[CODES])
    judged = JudgedTokens(samples[CODES][some], features[some], images[some])
    found = []
    for space in spaces:
        vectors = samples.get(space, samples[CODES])
        if space == BESIDE:
            vectors = kmeans.unit(np.concatenate([samples[CODES], samples[FEATURES]], axis=1))
        vectors = np.asarray(vectors, np.float32)
        of_space = {BESIDE: BesideFeatures(head), FEATURES: nn.Identity()}.get(space, head)
        labelled = image_vectors(corpus, of_space)
        for restart in range(RESTARTS):
            run = kmeans.restart(vectors, classes, seed, restart)
            clusters = judged.clusters(space, run.centroids)
            tokens = (clusters, classes, judged.features, judged.images)
            minimum = Minimum.of(space, run.inertia, *tokens)
            last = kmeans.lloyd(vectors, run.centroids, tolerance=kmeans.FINAL_TOLERANCE)
            cosines = labelled @ last.centroids.T
            scores = scored(cosines.argmax(axis=1), corpus.counts.numpy())
            found.append(Candidate(minimum, scores, cosines))
    return found


def image_vectors(corpus: Corpus, head: nn.Module) -> Vectors:
    """(patches of all images, depth) means of both views' vectors, as images are labelled."""
    parts = []
    for views in corpus.views:
        both = head(views.float()).numpy()
        parts.append(both.mean(axis=0).reshape(-1, both.shape[-1]))
    return np.concatenate(parts)


def scored(clusters: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy and mIoU in percent, clusters matched one to one with classes."""
    classes = counts.shape[1]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, clusters, counts)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    matched = confusion[rows[np.argsort(columns)]]  # row k: the cluster of class k
    hits = np.diag(matched)
    union = matched.sum(axis=0) + matched.sum(axis=1) - hits
    present = matched.sum(axis=0) > 0
    return 100 * hits.sum() / matched.sum(), 100 * float(np.mean(hits[present] / union[present]))


def lowest(found: list[Candidate]) -> Candidate:
    return min(found, key=lambda candidate: candidate.minimum.inertia)


def separated(found: list[Candidate]) -> Candidate:
    return found[silhouette.chosen([candidate.minimum for candidate in found])]


def by_labels(found: list[Candidate]) -> Candidate:
    """The best of the near minima."""
    bound = {
        space: (1 + silhouette.NEAR) * lowest([c for c in found if c.minimum.space == space])[0][1]
        for space in SPACES
    }
    near = [c for c in found if c.minimum.inertia <= bound[c.minimum.space]]
    return max(near, key=lambda candidate: candidate.scores[1])


def rows_of(corpus: Corpus, seeds: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Name and scores (seeds, 2) of each row of the table."""
    plain_methods = {
        method: [candidates(corpus, method, (CODES,), seed) for seed in range(seeds)]
        for method in (RAW, SHIFTED, PUBLISHED)
    }
    default = [candidates(corpus, "mean-shift", SPACES, seed) for seed in range(seeds)]
    for method, found in plain_methods.items():
        yield method, np.array([lowest(each).scores for each in found])
    for space in SPACES:
        of_space = [[c for c in each if c.minimum.space == space] for each in default]
        yield f"head: {space}", np.array([lowest(each).scores for each in of_space])
    policies: dict[str, Callable[[list[Candidate]], Candidate]] = {
        "head: chosen (default)": separated,
        "head: by labels": by_labels,
    }
    for name, policy in policies.items():
        yield name, np.array([policy(each).scores for each in default])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which corpora, and what their features and heads are made with."""
    parser.add_argument("corpora", nargs="*", type=Path)
    parser.add_argument("--keep", type=Path, required=True, help="folder of features and heads")
    parser.add_argument("--backbone", required=True, help="timm's name")
    parser.add_argument("--weights", required=True, help="file")
    parser.add_argument("--layer", type=int, help="block that is read; default: the last")
    parser.add_argument("--limit", type=int, default=120, help="images of each corpus")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    chosen = parser.parse_args()
    table: dict[str, dict[str, NDArray[np.float64]]] = {}
    for folder in [*chosen.corpora, scenes(chosen.keep / "scenes")]:
        for row, scores in rows_of(prepared(folder, chosen), chosen.seeds):
            table.setdefault(row, {})[folder.name] = scores
            (accuracy, miou), spread = scores.mean(axis=0), scores[:, 1].std()
            print(
                f"{folder.name:14}{row:34}{accuracy:6.1f} /{miou:5.1f} ± {spread:.1f}", flush=True
            )
    raw = {name: scores.mean(axis=0) for name, scores in table[RAW].items()}
    for row, found in table.items():
        gains = np.array([scores.mean(axis=0) - raw[name] for name, scores in found.items()])
        mean, worst = gains.mean(axis=0), gains.min(axis=0)
        text = f"{mean[0]:+6.1f} /{mean[1]:+5.1f}, worst {worst[0]:+.1f} /{worst[1]:+5.1f}"
        print(f"{'gain':14}{row:34}{text}")
    scores = {row: {n: s.tolist() for n, s in found.items()} for row, found in table.items()}
    harness.write("minima", {"scores": scores, "machine": harness.machine()})


if __name__ == "__main__":
    main()
