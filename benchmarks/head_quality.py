"""What 5,000 of our steps are worth beside the published ones: accuracy and mIoU, without a clock.

    python benchmarks/head_quality.py --workspace WS --dump val

Both heads learn from the workspace's features and neighbours with the recipe `stego`: the same
schedule, the same shifts. Reference: the published step (`head.published_step`: head on whole maps,
bilinear sampling) on the stored features, which is what recomputing them gives. Both sets of codes
are clustered alike, and the pixels of the labelled dump get the nearest centroid of their code.
There is no CRF: it would hide a part of the difference.
"""

import argparse
import sys
from typing import Any

import harness
import head as published
import numpy as np
import torch
from numpy.typing import NDArray

from stego_core import kmeans, metrics, training
from stego_core.batches import TrainingSet
from stego_core.crf import Crf
from stego_core.errors import ImageError
from stego_core.head import Head
from stego_core.inference import Segmenter, View
from stego_core.shifts import Triple
from tasks import model
from tasks.head import recipe_of, training_set
from tasks.index import IndexReader
from tasks.options import HeadOptions, MasksOptions
from tasks.rows import FeatureRows
from tasks.summary import Summary
from tasks.workspace.workspace import Workspace

RESTARTS, TOKENS = 10, 200_000
PARTS = 64
"""Parts in which the crops' codes are made, to bound the memory."""
FEATURE_MEMORY = 4096
"""MiB: the features stay in memory."""
SPOKEN = 500
"""Steps between two lines of progress."""

Labelled = list[tuple[NDArray[np.uint8], NDArray[np.int64]]]
"""Images (H, W, 3) and their labels (H, W)."""


def our_head(data: TrainingSet, channels: int, options: HeadOptions) -> tuple[Head, Triple]:
    """A head trained as the stage does it, and the shifts that it measured."""
    recipe = recipe_of(options)
    shifts = training.measured_shifts(data, recipe).shifts
    state = training.start(channels, options.code_size, options.dropout, recipe, shifts, "cpu")
    for row in training.train(state, data, recipe):
        spoken("ours", row.step)
    return state.average, shifts


def their_head(data: TrainingSet, channels: int, options: HeadOptions, shifts: Triple) -> Head:
    """A head trained as published."""
    generator = torch.Generator().manual_seed(options.seed)
    head = Head.create(channels, options.code_size, generator, options.dropout)
    optimiser = torch.optim.Adam(head.parameters(), lr=options.learning_rate)
    size = (published.BATCH,)
    for step in range(options.steps):
        anchors = torch.randint(len(data.rows), size, generator=generator).numpy()
        ranks = torch.randint(data.positives.shape[1], size, generator=generator).numpy()
        both = (data.rows[anchors], data.positives[anchors, ranks])
        maps = [torch.from_numpy(data.images(each).patches).float() for each in both]
        published.published_step(head, optimiser, maps, generator, shifts)
        spoken("reference", step)
    return head


def spoken(name: str, step: int) -> None:
    if (step + 1) % SPOKEN == 0:
        print(f"{name}: {step + 1} steps", file=sys.stderr)


def labelled(index: IndexReader) -> Labelled:
    """The labelled images that can be read, and their labels."""
    entries = index.entries(np.arange(index.manifest["images"]))
    found = ((image, index.labels(entry)) for entry, image in index.images(entries))
    return [
        (image.pixels, labels)
        for image, labels in found
        if labels is not None and not isinstance(image, ImageError)
    ]


@torch.inference_mode()
def centroids_of(head: Head, data: TrainingSet, classes: int, seed: int) -> NDArray[np.float32]:
    """Centroids (K, D) of the codes of all training crops."""
    parts = (data.images(part).patches for part in np.array_split(data.rows, PARTS))
    codes = np.concatenate([head(torch.from_numpy(p).float()).flatten(0, 2) for p in parts])
    chosen = kmeans.sample(codes, TOKENS, np.random.default_rng(seed))
    vectors = np.asarray(kmeans.unit(chosen), np.float32)
    runs = [kmeans.restart(vectors, classes, seed, number) for number in range(RESTARTS)]
    return kmeans.lloyd(
        vectors, runs[kmeans.best(runs)].centroids, tolerance=kmeans.FINAL_TOLERANCE
    ).centroids


def judged(segmenter: Segmenter, images: Labelled) -> dict[str, float]:
    """Scores in percent, clusters matched one to one to the labels."""
    classes = len(segmenter.centroids)
    confusion = metrics.Confusion.create(classes, classes)
    for image, labels in images:
        confusion.add(labels, segmenter(image))
    scored = metrics.scores(confusion.counts, metrics.match(confusion.counts))
    return {"accuracy": round(scored.accuracy, 2), "miou": round(scored.miou, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", required=True, help="with features and neighbours")
    parser.add_argument("--dump", required=True, help="a labelled dump that was not trained on")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seeds", default="0", help="numbers, separated by commas")
    chosen = parser.parse_args()
    view = View(resolution=MasksOptions().resolution)
    summary = Summary(Workspace.open(chosen.workspace))
    keys, dumps = summary.current["keys"], summary.current["dumps"]
    features = FeatureRows(summary.workspace, keys["features"], tuple(dumps))
    data = training_set(features, keys["neighbors"], "stego", FEATURE_MEMORY)
    backbone = model.backbone(summary.workspace.storage, features.backbone(), "cpu")
    index = IndexReader(summary.workspace, chosen.dump)
    images = labelled(index)
    classes = len(index.manifest["taxonomy"]["classes"])
    figures: dict[str, Any] = {}
    for seed in map(int, chosen.seeds.split(",")):
        options = HeadOptions(recipe="stego", steps=chosen.steps, seed=seed)
        ours, shifts = our_head(data, backbone.channels, options)
        heads = {"ours": ours, "reference": their_head(data, backbone.channels, options, shifts)}
        figures[str(seed)] = {}
        for name, head in heads.items():
            centroids = centroids_of(head.eval(), data, classes, seed)
            segmenter = Segmenter(backbone, head, centroids, Crf(iterations=0), view)
            scores = figures[str(seed)][name] = judged(segmenter, images)
            told = f"accuracy {scores['accuracy']:.1f}, mIoU {scores['miou']:.1f}"
            print(f"seed {seed}, {name}: {told}", flush=True)
    harness.write(
        "head_quality", {"steps": chosen.steps, "figures": figures, "machine": harness.machine()}
    )


if __name__ == "__main__":
    sys.exit(main())
