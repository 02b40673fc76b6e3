"""k-means on codes: ours beside scikit-learn's MiniBatchKMeans, as many starts.

    python benchmarks/clustering.py --workspace WS

The codes are those of every patch of the workspace's training rows, by its current head, of norm
1. Ours is what the stage does: restarts on samples, judged on another sample, side by side in as
many threads; the best one goes on with all codes. MiniBatchKMeans has scikit-learn's defaults; its
centroids are scaled to norm 1 before the comparison, as its data are.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pairs
import torch

from stego_core.clustering import kmeans

ROW, UNIT = "clustering", "s"
WORK = "k-means with restarts on codes of norm 1"
PACKAGES = ("scikit-learn",)
GOAL = 2.0
ROWS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", required=True, help="with a trained head")
    parser.add_argument("--classes", type=int, default=27)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)


@torch.inference_mode()
def inputs(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from tasks.features.rows import feature_rows
    from tasks.head.heads import load_head
    from tasks.workspace.workspace import Workspace

    workspace = Workspace.open(chosen.workspace)
    current = workspace.last_run()
    rows = feature_rows(workspace, current["keys"]["features"], current["dumps"])
    head = load_head(workspace.storage, current["keys"]["head"], "cpu")
    codes = []
    for first in range(0, rows.total, ROWS):
        patches = rows.read("patches", np.arange(first, min(first + ROWS, rows.total)))
        found = head(torch.from_numpy(patches.astype(np.float32)))
        codes.append(found.flatten(0, 2).numpy())
    vectors = np.asarray(kmeans.unit(np.concatenate(codes)), np.float32)
    np.save(folder / "codes.npy", vectors)
    return {
        "file": str(folder / "codes.npy"),
        "codes": vectors.shape,
        "classes": chosen.classes,
        "restarts": chosen.restarts,
        "seed": chosen.seed,
    }


def ours(inputs: dict[str, Any]) -> pairs.Work:
    codes = np.load(inputs["file"])
    torch.set_num_threads(1)  # of each restart; there are as many side by side

    def restart(number: int) -> kmeans.Clustering:
        return kmeans.restart(codes, inputs["classes"], inputs["seed"], number)

    def work() -> pairs.Arrays:
        with ThreadPoolExecutor(inputs["threads"]) as pool:
            runs = list(pool.map(restart, range(inputs["restarts"])))
        torch.set_num_threads(inputs["threads"])
        best = kmeans.lloyd(
            codes, runs[kmeans.best(runs)].centroids, tolerance=kmeans.FINAL_TOLERANCE
        )
        return {"centroids": best.centroids}

    return work


def reference(inputs: dict[str, Any]) -> pairs.Work:
    from sklearn.cluster import MiniBatchKMeans

    codes = np.load(inputs["file"])
    model = MiniBatchKMeans(
        inputs["classes"], n_init=inputs["restarts"], random_state=inputs["seed"]
    )

    def work() -> pairs.Arrays:
        found = model.fit(codes)
        return {"centroids": kmeans.unit(found.cluster_centers_).astype(np.float32)}

    return work


def equal(inputs: dict[str, Any], ours: pairs.Arrays, reference: pairs.Arrays) -> str:
    codes = np.load(inputs["file"])
    a, b = (kmeans.assign(codes, each["centroids"]).inertia for each in (ours, reference))
    return f"inertia over all codes: ours {a:.5f}, reference {b:.5f} ({100 * (a / b - 1):+.2f} %)"


if __name__ == "__main__":
    pairs.main(sys.modules["__main__"])
