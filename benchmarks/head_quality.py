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
from collections.abc import Iterator
from typing import Any

import harness
import head as rows
import numpy as np
import torch
from numpy.typing import NDArray

from stego_core import geometry, inference, kmeans, metrics, training
from stego_core.backbone import Backbone
from stego_core.batches import TrainingSet
from stego_core.head import Head
from stego_core.inference import View
from stego_core.shifts import Triple
from tasks import model
from tasks.head import recipe_of, training_set
from tasks.index import IndexReader
from tasks.options import HeadOptions, MasksOptions
from tasks.rows import FeatureRows
from tasks.summary import Summary
from tasks.workspace.workspace import Workspace

RESTARTS, TOKENS = 10, 200_000
FEATURE_MEMORY = 4096
"""MiB: the features stay in memory."""
SPOKEN = 500
"""Steps between two lines of progress."""

Labelled = list[tuple[NDArray[np.float32], NDArray[np.int64]]]
"""Features (2, h, w, C) of an image and of its mirrored twin, and its labels (H, W)."""


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
    rows.SHIFTS = shifts
    generator = torch.Generator().manual_seed(options.seed)
    head = Head.create(channels, options.code_size, generator, options.dropout)
    optimiser = torch.optim.Adam(head.parameters(), lr=options.learning_rate)
    for step in range(options.steps):
        anchors = torch.randint(len(data.rows), (rows.BATCH,), generator=generator).numpy()
        ranks = torch.randint(data.positives.shape[1], (rows.BATCH,), generator=generator).numpy()
        both = (data.rows[anchors], data.positives[anchors, ranks])
        maps = [torch.from_numpy(data.images(each).patches).float() for each in both]
        rows.published_step(head, optimiser, maps, generator)
        spoken("reference", step)
    return head


def spoken(name: str, step: int) -> None:
    if (step + 1) % SPOKEN == 0:
        print(f"{name}: {step + 1} steps", file=sys.stderr)


def labelled(index: IndexReader, backbone: Backbone, view: View) -> Iterator[Any]:
    """What `Labelled` holds, of every labelled image."""
    entries = index.entries(np.arange(index.manifest["images"]))
    for entry, image in index.images(entries):
        labels = index.labels(entry)
        if labels is None or not isinstance(image, np.ndarray):
            continue
        size = geometry.inference_size(*labels.shape, view.resolution, backbone.patch)
        seen = geometry.resize(image, *size)
        yield backbone.features(np.stack([seen, seen[:, ::-1]])), labels


@torch.inference_mode()
def codes_of(head: Head, patches: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(head.eval()(torch.from_numpy(patches.astype(np.float32))).numpy())


def judged(
    head: Head, data: TrainingSet, images: Labelled, classes: int, seed: int
) -> dict[str, float]:
    """Scores in percent, clusters matched one to one to the labels."""
    parts = [data.images(part).patches for part in np.array_split(data.rows, 64) if len(part)]
    every = np.concatenate([codes_of(head, part).reshape(-1, rows.DEPTH) for part in parts])
    chosen = kmeans.drawn(every, TOKENS, np.random.default_rng(seed))
    vectors = np.asarray(kmeans.unit(chosen), np.float32)
    runs = [kmeans.restart(vectors, classes, seed, number) for number in range(RESTARTS)]
    centroids = kmeans.settled(vectors, runs[kmeans.best(runs)].centroids).centroids
    confusion = metrics.Confusion.create(classes, classes)
    for features, labels in images:
        found = codes_of(head, features)
        codes = (found[0] + found[1][:, ::-1]) / 2
        whole = geometry.Window(0, 0, *labels.shape)
        full = inference.upsampled(codes, labels.shape, whole)
        confusion.add(labels, (full @ centroids.T).argmax(axis=-1))
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
    images = list(labelled(index, backbone, view))
    classes = len(index.manifest["taxonomy"]["classes"])
    figures: dict[str, Any] = {}
    for seed in map(int, chosen.seeds.split(",")):
        options = HeadOptions(recipe="stego", steps=chosen.steps, seed=seed)
        ours, shifts = our_head(data, backbone.channels, options)
        heads = {"ours": ours, "reference": their_head(data, backbone.channels, options, shifts)}
        figures[str(seed)] = {
            name: judged(head, data, images, classes, seed) for name, head in heads.items()
        }
        for name, scores in figures[str(seed)].items():
            told = f"accuracy {scores['accuracy']:.1f}, mIoU {scores['miou']:.1f}"
            print(f"seed {seed}, {name}: {told}", flush=True)
    harness.write(
        "head_quality", {"steps": chosen.steps, "figures": figures, "machine": harness.machine()}
    )


if __name__ == "__main__":
    sys.exit(main())
