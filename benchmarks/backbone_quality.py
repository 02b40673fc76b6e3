"""What the bundled backbone is worth: the demo pipeline beside its rivals, and its patches alone.

    python benchmarks/backbone_quality.py --seed 1
    python benchmarks/backbone_quality.py --seed 1 --labelled camvid/imgs/val camvid/labels/val

- demo: the demo's pipeline on freshly drawn scenes (a seed that nothing was trained on), with the
  bundled backbone and with untrained weights of the same architecture; k-means on the raw features
  (same restarts, same CRF) comes with each; k-means on the pixels' RGB beside them.
- patches: cosine average precision of same-class patches on labelled images: all pairs of a
  sample of patches, ranked by the cosine of their features; precision averaged over the pairs of
  one class. A patch's class is that of most of its pixels; void patches are left out.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import demo_corpus
import harness
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stego_core.scenes import SCENE_CLASSES

DUMP = "scenes"
PIXEL_STEP = 37
RESTARTS = 10
SAMPLE = 3000
CELL = 16
"""Pixels of a cell whose mean RGB and whose class count; whole patches of every backbone."""

Figures = dict[str, dict[str, float]]


def demo_scores(folder: Path, chosen: argparse.Namespace, weights: str) -> Figures:
    """Accuracy and mIoU in percent of STEGO and of k-means on the raw features."""
    from flows import demo
    from flows.pipeline import pipeline
    from flows.settings import PipelineOptions
    from tasks import status
    from tasks.options import ClustersOptions, ComputeOptions
    from tasks.summary import Summary
    from tasks.workspace.storage import Storage
    from tasks.workspace.workspace import Workspace

    scenes = Storage.at(str(folder / "corpus"))
    demo.write_corpus(scenes, chosen.scenes, chosen.seed)
    sections = demo.sections(scenes)
    sections["features"] = sections["features"].model_copy(update={"weights": weights})
    sections["head"] = sections["head"].model_copy(update={"seed": chosen.seed})
    sections["clusters"] = ClustersOptions(seed=chosen.seed)
    workspace = str(folder / weights)
    options = PipelineOptions(**sections, compute=ComputeOptions())
    pipeline(workspace=workspace, options=options, dump=DUMP)
    scores = status.document(Summary(Workspace.open(workspace)))["scores"][DUMP]
    return {
        method: {"accuracy": scores[f"{prefix}accuracy"], "miou": scores[f"{prefix}miou"]}
        | ({"per_class": scores["per_class"]} if not prefix else {})
        for method, prefix in (("STEGO", ""), ("k-means on raw features", "baseline_"))
    }


def rgb_scores(chosen: argparse.Namespace) -> dict[str, float]:
    """Accuracy and mIoU in percent of k-means on the pixels' colours."""
    points, labels, _ = demo_corpus.sampled_corpus(chosen.seed, chosen.scenes, PIXEL_STEP)
    generator = np.random.default_rng(chosen.seed)
    classes = len(SCENE_CLASSES)
    runs = [demo_corpus.kmeans(points, classes, generator) for _ in range(RESTARTS)]
    best = min(runs, key=lambda run: run[1])[0]
    accuracy, miou = demo_corpus.matched_scores(best, labels, classes)
    return {"accuracy": accuracy, "miou": miou}


def labelled_cells(
    images: Path, labels: Path, side: int, void: int
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.int64]]]:
    """Images (H, W, 3) of a short side of `side`, cut to whole cells, and their cells' classes."""
    shown, classes = [], []
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in harness.ENDINGS):
        image, label = Image.open(path).convert("RGB"), Image.open(labels / f"{path.stem}.png")
        scale = side / min(image.size)
        size = tuple(round(length * scale) for length in image.size)
        height, width = size[1] // CELL * CELL, size[0] // CELL * CELL
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))[:height, :width]
        ids = np.asarray(label.resize(size, Image.Resampling.NEAREST))[:height, :width]
        counts = np.stack([(cells(ids) == id_).sum(axis=-1) for id_ in range(void + 1)], axis=-1)
        shown.append(pixels)
        classes.append(counts.argmax(axis=-1).ravel())
    return shown, classes


def cells(values: NDArray[Any]) -> NDArray[Any]:
    """(H, W) values as (H / CELL, W / CELL, CELL²)."""
    height, width = values.shape[0] // CELL, values.shape[1] // CELL
    split = values.reshape(height, CELL, width, CELL).swapaxes(1, 2)
    return split.reshape(height, width, CELL**2)


def average_precision(
    vectors: NDArray[np.float32], classes: NDArray[np.int64], void: int, seed: int
) -> float:
    """Average precision of "same class" among the pairs of `SAMPLE` vectors, ranked by cosine."""
    kept = np.flatnonzero(classes != void)
    sample = np.random.default_rng(seed).permutation(kept)[:SAMPLE]
    unit = vectors[sample] / np.linalg.norm(vectors[sample], axis=1, keepdims=True)
    pairs = np.triu_indices(len(sample), 1)
    same = (classes[sample][:, None] == classes[sample])[pairs]
    ranked = same[np.argsort(-(unit @ unit.T)[pairs], kind="stable")]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def patch_precision(chosen: argparse.Namespace) -> dict[str, list[float]]:
    """Average precision of each kind of vector, for three samples."""
    import torch

    from stego_core import backbone
    from tasks import model

    images, classes = labelled_cells(*chosen.labelled, chosen.side, chosen.void)
    vectors: dict[str, list[NDArray[np.float32]]] = {"mean RGB": []}
    for image in images:
        colour = np.stack([cells(image[..., c]).mean(axis=-1) for c in range(3)], axis=-1)
        vectors["mean RGB"].append((colour / 255).reshape(-1, 3).astype(np.float32))
    for name in (model.UNTRAINED, model.BUNDLED):
        vit = backbone.bare_model(model.BUNDLED_BACKBONE)
        if name == model.BUNDLED:
            backbone.load_weights(vit, model.bundled())
        frozen = backbone.freeze(vit, None, "cpu")
        vectors[name] = [
            cell_features(frozen.features(image[None])[0], CELL // frozen.patch) for image in images
        ]
    truth = np.concatenate(classes)
    torch.set_num_threads(1)
    return {
        name: [average_precision(np.concatenate(v), truth, chosen.void, s) for s in range(3)]
        for name, v in vectors.items()
    }


def cell_features(features: NDArray[np.float32], each: int) -> NDArray[np.float32]:
    """Mean features (n, C) of each cell of `each`² patches, from patches (h, w, C)."""
    height, width, channels = features.shape
    split = features.reshape(height // each, each, width // each, each, channels)
    return np.asarray(split.mean(axis=(1, 3)).reshape(-1, channels))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=120, help="scenes to draw")
    parser.add_argument("--seed", type=int, default=1, help="of scenes, head and clusters")
    parser.add_argument(
        "--labelled", type=Path, nargs=2, metavar=("IMAGES", "LABELS"), help="labelled images"
    )
    parser.add_argument("--side", type=int, default=360, help="their short side, pixels")
    parser.add_argument("--void", type=int, default=11, help="their void id, the highest")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    chosen = parser.parse_args()
    before = harness.machine()
    figures: dict[str, Any] = {}
    with harness.scratch(chosen) as folder:
        for weights in ("bundled", "untrained"):
            for method, scores in demo_scores(folder, chosen, weights).items():
                figures[f"{method}, {weights}"] = scores
    figures["k-means on RGB"] = rgb_scores(chosen)
    print(f"{'':<36}{'accuracy':>9}{'mIoU':>7}")
    for name, scores in figures.items():
        print(f"{name:<36}{scores['accuracy']:9.1f}{scores['miou']:7.1f}")
    precision = patch_precision(chosen) if chosen.labelled else {}
    for name, values in precision.items():
        print(f"{'average precision, ' + name:<36}{np.mean(values):16.3f}")
    document = {
        "scenes": chosen.scenes,
        "seed": chosen.seed,
        "demo": figures,
        "average_precision": precision,
        "machine": before,
    }
    harness.write("backbone_quality", document)


if __name__ == "__main__":
    sys.exit(main())
