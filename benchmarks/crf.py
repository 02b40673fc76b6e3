"""The CRF on real codes: ours beside pydensecrf, called per image in a process pool.

    python benchmarks/crf.py --workspace WS --images DIR

The codes are those of the workspace's current head for images of 320×320, the clusters 27 of
these codes. Reference, as published: the log probabilities of every pixel are made by the main
process and sent to a pool of processes, which call the library (the C++ of Krähenbühl & Koltun)
for one image each. Ours, as the stage does it: workers get codes, and do the rest. Both pools
have as many processes as there are threads; each process has one.
"""

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pairs
import plain
import torch
from numpy.typing import NDArray
from PIL import Image

from stego_core.clustering import kmeans
from stego_core.images import geometry
from stego_core.images.upsampling import scores_at
from stego_core.masks.crf import Crf
from stego_core.masks.patch_codes import Windows
from stego_core.masks.segmenter import refined, scorer

ROW, UNIT = "crf", "images/s per core"
WORK = "dense CRF of 10 iterations, 320×320 pixels"
PACKAGES = ("pydensecrf2",)
GOAL = 5.0
SIDE = 320
CRF = Crf()

Item = tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]
"""An image's codes, its pixels, the centroids."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", required=True, help="with a trained head and clusters")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--limit", type=int, default=64, help="images taken")
    parser.add_argument("--classes", type=int, default=27)
    parser.add_argument("--seed", type=int, default=0)


def inputs(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from tasks.masks.segmenter import segmenter_spec
    from tasks.options import MasksOptions
    from tasks.workspace.workspace import Workspace

    workspace = Workspace.open(chosen.workspace)
    spec = segmenter_spec(workspace, workspace.last_run()["keys"]["clusters"], MasksOptions())
    segmenter = spec.build("cpu")
    chosen.scenes = 0
    files = harness.found_images(chosen, folder)
    pixels = np.stack(
        [geometry.square(np.asarray(Image.open(path).convert("RGB")), SIDE) for path in files]
    )
    codes = np.stack([segmenter.codes(image) for image in pixels])
    vectors = np.asarray(kmeans.unit(codes.reshape(-1, codes.shape[-1])), np.float32)
    runs = [kmeans.restart(vectors, chosen.classes, chosen.seed, number) for number in range(5)]
    centroids = kmeans.lloyd(
        vectors, runs[kmeans.best(runs)].centroids, tolerance=kmeans.FINAL_TOLERANCE
    ).centroids
    np.savez(folder / "codes.npz", codes=codes, pixels=pixels, centroids=centroids)
    return {
        "file": str(folder / "codes.npz"),
        "images": len(files),
        "classes": chosen.classes,
        "seed": chosen.seed,
    }


def figure(inputs: dict[str, Any], seconds: float) -> float:
    return float(inputs["images"] / seconds / inputs["threads"])


def items(inputs: dict[str, Any]) -> list[Item]:
    held = np.load(inputs["file"])
    return [(c, p, held["centroids"]) for c, p in zip(held["codes"], held["pixels"], strict=True)]


def warmed(workers: int, call: Any, first: Any) -> Any:
    """A pool whose processes have done the work once: imports are in no figure."""
    os.environ.update(plain.worker_environment())  # a process of the pool has one thread
    pool = multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,))
    pool.map(call, [first] * workers * 2, chunksize=1)
    return pool


def ours(inputs: dict[str, Any]) -> pairs.Work:
    work = items(inputs)
    pool = warmed(inputs["threads"], our_mask, work[0])
    return lambda: {"masks": np.stack(pool.map(our_mask, work, chunksize=1))}


def our_mask(item: Item) -> NDArray[np.uint8]:
    codes, pixels, centroids = item
    return refined(codes, pixels, scorer(centroids, CRF), CRF, Windows()).classes


def reference(inputs: dict[str, Any]) -> pairs.Work:
    work = items(inputs)
    pool = warmed(inputs["threads"], their_mask, (scores(work[0]), work[0][1]))

    def call() -> pairs.Arrays:
        sent = [(scores(item), item[1]) for item in work]
        return {"masks": np.stack(pool.map(their_mask, sent, chunksize=1))}

    return call


def scores(item: Item) -> NDArray[np.float32]:
    """Log probabilities (K, H, W) of every pixel."""
    codes, _, centroids = item
    whole = geometry.Window(0, 0, SIDE, SIDE)

    def of_codes(own: NDArray[np.float32]) -> NDArray[np.float32]:
        norm = np.sqrt(np.einsum("...d,...d->...", own, own))[..., None]
        cosines = own @ centroids.T / norm
        return torch.from_numpy(np.float32(CRF.sharpness) * cosines).log_softmax(dim=-1).numpy()

    return scores_at(of_codes, codes, (SIDE, SIDE), whole)


def their_mask(item: tuple[NDArray[np.float32], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    from pydensecrf import densecrf

    scores, pixels = item
    field = densecrf.DenseCRF2D(SIDE, SIDE, len(scores))
    field.setUnaryEnergy(np.ascontiguousarray(-scores.reshape(len(scores), -1)))
    field.addPairwiseGaussian(sxy=CRF.gaussian_xy, compat=CRF.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=CRF.bilateral_xy,
        srgb=CRF.bilateral_rgb,
        rgbim=np.ascontiguousarray(pixels),
        compat=CRF.bilateral_weight,
    )
    marginals = np.array(field.inference(CRF.iterations))
    return marginals.argmax(axis=0).reshape(SIDE, SIDE).astype(np.uint8)


def equal(inputs: dict[str, Any], ours: pairs.Arrays, reference: pairs.Arrays) -> str:
    same = float((ours["masks"] == reference["masks"]).mean())
    return f"{100 * same:.4f} % of the pixels get the same class"


def more(inputs: dict[str, Any]) -> dict[str, Any]:
    """Ours with one worker beside all of them."""
    rates = {}
    for workers in (1, inputs["threads"]):
        call = ours({**inputs, "threads": workers})
        begun = time.perf_counter()
        call()
        rates[workers] = figure({**inputs, "threads": workers}, time.perf_counter() - begun)
    return {"efficiency": round(rates[inputs["threads"]] / rates[1], 3)}


if __name__ == "__main__":
    pairs.main(sys.modules["__main__"])
