"""What `--shifts auto` is worth: beside a grid of shifts that peeks at the labels.

    python benchmarks/calibration.py --workspace WS \\
        --labelled imgs/val labels/val --taxonomy classes.json

The workspace holds features and neighbours (`stego corpus`, `features`, `neighbors`). For every
setting of the three shifts a head is trained by the recipe `stego` (`--grid mean-shift`: by that
one; `--grid none`: no setting), its codes are clustered, and the labelled images are scored: no
CRF, every `--every`-th image at a third of its size. The grid is laid out in the share of pairs
that a shift lets attract (the quantiles of F^SC), so that it covers what is useful on any
features. Beside it, for every seed: `auto` with both recipes, k-means on the raw features and on
those after mean shift, and the grid's best setting again. Labels judge; they choose nothing.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate, normalize

from stego_core import batches, geometry, kmeans, metrics, training
from stego_core.correspondence import correspondence, spatially_centred
from stego_core.head import IdentityHead, MeanShiftHead
from stego_core.meanshift import RECIPE
from stego_core.shifts import Triple
from stego_core.taxonomy import Taxonomy

SELF = (0.15, 0.25, 0.35, 0.5, 0.7)
KNN = (0.6, 1.0)
"""Times the share of self pairs."""
RANDOM = (0.03, 0.08, 0.15, 0.3)
TOKENS = 60_000
STEP = 3
"""Every third pixel of a label, in both directions, is scored."""


class Labelled(NamedTuple):
    """An image's features (2, h, w, C), the mirrored ones second, and its labels (H, W)."""

    features: NDArray[np.float16]
    labels: NDArray[np.int64]


class Bench(NamedTuple):
    """What every setting is measured on."""

    data: batches.TrainingSet
    shifted: batches.TrainingSet
    channels: int
    images: Sequence[Labelled]
    classes: int
    chosen: argparse.Namespace

    def recipe(self, data: batches.TrainingSet, seed: int) -> training.Recipe:
        """The head's recipe, plain or for shifted patches."""
        from tasks.head import recipe_of
        from tasks.options import HeadOptions

        name = RECIPE if data is self.shifted else "stego"
        return recipe_of(HeadOptions(recipe=name, steps=self.chosen.steps, seed=seed))

    def head(self, data: batches.TrainingSet, shifts: Triple, seed: int) -> nn.Module:
        """A head trained on plain or shifted patches, as it reads images."""
        recipe = self.recipe(data, seed)
        state = training.start(self.channels, 70, 0.1, recipe, shifts, "cpu")
        for _ in training.train(state, data, recipe):
            pass
        return MeanShiftHead(state.average) if data is self.shifted else state.average

    @torch.inference_mode()
    def scores(self, head: nn.Module, seed: int) -> tuple[float, float]:
        """Accuracy and mIoU in percent of the clusters of a head's codes."""
        from tasks.codes import codes_drawn

        each = max(1, TOKENS // len(self.data.rows))
        codes = []
        for row in self.data.rows:
            (patches,) = torch.from_numpy(self.data.images(np.array([row])).patches.astype("f4"))
            drawn = np.random.default_rng([seed, row])
            codes.append(codes_drawn(head, patches, min(each, patches[..., 0].numel()), drawn))
        vectors = np.asarray(kmeans.unit(np.concatenate(codes)), np.float32)
        restarts = range(self.chosen.restarts)
        runs = [kmeans.restart(vectors, self.classes, seed, number) for number in restarts]
        found = kmeans.lloyd(
            vectors, runs[kmeans.best(runs)].centroids, tolerance=kmeans.FINAL_TOLERANCE
        )
        centroids = torch.from_numpy(found.centroids)
        confusion = metrics.Confusion.create(self.classes, self.classes)
        for image in self.images:
            both = head(torch.from_numpy(image.features.astype(np.float32)))
            mean = ((both[0] + both[1].flip(1)) / 2).permute(2, 0, 1)
            full = interpolate(mean[None], image.labels.shape, mode="bilinear")[0]
            cosine = normalize(full.permute(1, 2, 0), dim=-1) @ centroids.T
            confusion.add(image.labels, cosine.argmax(dim=-1).numpy())
        scored = metrics.scores(confusion.counts, metrics.match(confusion.counts))
        return round(scored.accuracy, 1), round(scored.miou, 1)


def quantiles(data: batches.TrainingSet, recipe: training.Recipe) -> list[NDArray[np.float32]]:
    """Sorted centred correspondences of self, knn and random pairs."""
    found: list[list[NDArray[np.float32]]] = [[], [], []]
    for pairs in training.first_pairs(data, recipe):
        for kind, (one, other) in zip(found, pairs, strict=True):
            centred = spatially_centred(correspondence(one, other))
            kind.append(centred.flatten()[::7].numpy())
    return [np.sort(np.concatenate(parts)) for parts in found]


def labelled_images(
    backbone: Any, taxonomy: Taxonomy, chosen: argparse.Namespace
) -> list[Labelled]:
    """Features and labels of every `--every`-th labelled image."""
    images, labels = chosen.labelled
    found = []
    paths = sorted(p for p in images.iterdir() if p.suffix.lower() in harness.ENDINGS)
    for path in paths[:: chosen.every]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        height, width, _ = pixels.shape
        size = geometry.inference_size(height, width, chosen.resolution, backbone.patch)
        resized = geometry.resize(pixels, *size)
        features = backbone.features(np.stack([resized, resized[:, ::-1]]))
        ids = np.asarray(Image.open(labels / f"{path.stem}.png")).astype(np.int64)
        ids = np.where(ids < len(taxonomy.classes), ids, -1)[1::STEP, 1::STEP]
        found.append(Labelled(features.astype(np.float16), ids))
    return found


def bench(chosen: argparse.Namespace) -> Bench:
    """The workspace's training rows and the labelled images' features."""
    from tasks import head, model
    from tasks.rows import feature_rows
    from tasks.workspace.workspace import Workspace

    workspace = Workspace.open(chosen.workspace)
    current = workspace.current()
    rows = feature_rows(workspace, current["keys"]["features"], current["dumps"])
    plain, shifted = (
        head.training_set(rows, current["keys"]["neighbors"], recipe, 4096)
        for recipe in ("stego", "mean-shift")
    )
    taxonomy = Taxonomy.parse(json.loads(chosen.taxonomy.read_text()))
    backbone = model.backbone(workspace.storage, rows.backbone(), "cpu")
    images = labelled_images(backbone, taxonomy, chosen)
    return Bench(plain, shifted, rows.shape()[2], images, len(taxonomy.classes), chosen)


def grid(work: Bench) -> list[dict[str, Any]]:
    """Every setting of the three shifts, at the first seed."""
    seed = work.chosen.seeds[0]
    data = work.data if work.chosen.grid == "stego" else work.shifted
    values = quantiles(data, work.recipe(data, seed))
    found = []
    for own, knn, rand in itertools.product(SELF, KNN, RANDOM):
        shares = (own, own * knn, rand)
        shifts = Triple(
            *(float(np.quantile(v, 1 - share)) for v, share in zip(values, shares, strict=True))
        )
        accuracy, miou = work.scores(work.head(data, shifts, seed), seed)
        found.append({"shares": shares, "shifts": shifts, "accuracy": accuracy, "miou": miou})
        told = " ".join(f"{share:.2f}" for share in shares)
        print(f"{told} | {' '.join(f'{b:.2f}' for b in shifts)} | {accuracy} / {miou}", flush=True)
    return found


def best_again(work: Bench, settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The grid's best setting with every seed: the best of many is partly luck at its own seed."""
    data = work.data if work.chosen.grid == "stego" else work.shifted
    shifts = Triple(*max(settings, key=lambda row: float(row["miou"]))["shifts"])
    found = []
    for seed in work.chosen.seeds:
        accuracy, miou = work.scores(work.head(data, shifts, seed), seed)
        found.append({"seed": seed, "accuracy": accuracy, "miou": miou})
        print(f"best of the grid, seed {seed}: {accuracy} / {miou}", flush=True)
    return found


def chosen_without_labels(work: Bench) -> dict[str, list[dict[str, Any]]]:
    """`auto` with both recipes and k-means on both kinds of features, for every seed."""
    found: dict[str, list[dict[str, Any]]] = {}

    def note(name: str, figures: tuple[float, float], **more: Any) -> None:
        found.setdefault(name, []).append({"accuracy": figures[0], "miou": figures[1], **more})
        print(f"{name}: {figures[0]} / {figures[1]}", more or "", flush=True)

    for seed in work.chosen.seeds:
        for name, data in (("auto, stego", work.data), ("auto, mean-shift", work.shifted)):
            measured = training.measured_shifts(data, work.recipe(data, seed))
            shifts, shares = (np.round(each, 3).tolist() for each in measured)
            figures = work.scores(work.head(data, measured.shifts, seed), seed)
            note(name, figures, seed=seed, shifts=shifts, shares=shares)
        note("k-means, raw features", work.scores(IdentityHead(), seed), seed=seed)
        drawn_together = work.scores(MeanShiftHead(IdentityHead()), seed)
        note("k-means, after mean shift", drawn_together, seed=seed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", required=True, help="with features and neighbours")
    parser.add_argument("--labelled", type=Path, nargs=2, required=True, help="images, labels")
    parser.add_argument("--taxonomy", type=Path, required=True, help="class names")
    parser.add_argument("--name", required=True, help="of the row, such as camvid-8-five")
    parser.add_argument("--steps", type=int, default=400, help="of every head")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--restarts", type=int, default=10, help="k-means starts")
    parser.add_argument("--every", type=int, default=2, help="labelled images taken")
    parser.add_argument("--resolution", type=int, default=448, help="short side, pixels")
    recipes = ("stego", "mean-shift", "none")
    parser.add_argument("--grid", choices=recipes, default="stego", help="recipe of the grid")
    chosen = parser.parse_args()
    work = bench(chosen)
    own = chosen_without_labels(work)
    settings = [] if chosen.grid == "none" else grid(work)
    if settings:
        own["best of the grid"] = best_again(work, settings)
    means = {
        name: tuple(round(float(np.mean([r[f] for r in rows])), 1) for f in ("accuracy", "miou"))
        for name, rows in own.items()
    }
    for name, (accuracy, miou) in means.items():
        print(f"{name}, mean of {len(chosen.seeds)} seeds: {accuracy} / {miou}")
    if settings:
        best = max(settings, key=lambda row: float(row["miou"]))
        print(f"best of {len(settings)} settings: {best['accuracy']} / {best['miou']}")
    document = {
        "row": f"calibration-{chosen.name}",
        "means": means,
        "runs": own,
        "grid": settings,
        "options": {n: getattr(chosen, n) for n in ("steps", "seeds", "restarts", "every", "grid")},
        "images": len(work.images),
        "machine": harness.machine(),
    }
    harness.write(f"calibration-{chosen.name}", document)


if __name__ == "__main__":
    main()
