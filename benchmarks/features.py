"""Features, from image file to Zarr: the pipeline's stage beside a plain loop.

    python benchmarks/features.py --images DIR

Both sides cut the central square of each image, resize it to 224 and store the patch features as
float16. Reference: one process, torch on all threads, float32, explicit attention (as published:
softmax of a product), batches of 16 that are decoded, embedded and stored one after the other.
Ours: the stage as it is, on local Dask workers of one thread each; Prefect takes no part. Products
are in the precision that the stage chooses on this machine. Both sides have embedded a batch
before the clock starts; the index of the images is there on both.
"""

import argparse
import atexit
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pairs
import plain
import torch
import zarr
from numpy.typing import NDArray
from PIL import Image

from stego_core.backbone import vit as backbones
from stego_core.images import geometry

ROW, UNIT = "features", "images/s"
WORK = "patch features of 224×224 squares, from image file to Zarr"
PACKAGES = ("timm", "zarr", "distributed")
GOAL = 4.0
SIDE, BATCH = 224, 16
DUMP, FIRST = "images", "first"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, help="folder of images; default: generated scenes")
    parser.add_argument("--limit", type=int, default=256, help="images taken")
    parser.add_argument("--backbone", default="vit_small_patch16_224", help="timm's name")
    parser.add_argument("--weights", default="untrained", help="file; default: random ones")
    parser.add_argument("--seed", type=int, default=0, help="of generated scenes")


def inputs(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    files = harness.found_images(chosen, folder)
    harness.copied(files, folder / DUMP)
    harness.copied(files[:BATCH], folder / FIRST)
    return {
        "folder": str(folder),
        "images": len(files),
        "backbone": chosen.backbone,
        "weights": chosen.weights,
    }


def figure(inputs: dict[str, Any], seconds: float) -> float:
    return float(inputs["images"] / seconds)


def ours(inputs: dict[str, Any]) -> pairs.Work:
    from flows.runs import stages
    from tasks.engine import compute
    from tasks.options import ComputeOptions, CorpusOptions, FeaturesOptions
    from tasks.workspace.workspace import Workspace

    stack = ExitStack()
    atexit.register(stack.close)
    place = tempfile.mkdtemp(dir=inputs["folder"], prefix="run-")
    os.environ.update(plain.worker_environment())
    run = ComputeOptions(workers=inputs["threads"], device="cpu")
    options = FeaturesOptions(
        backbone=inputs["backbone"], weights=inputs["weights"], crops="whole", crop_size=SIDE
    )
    executor = stack.enter_context(compute.executor(run))
    stack.enter_context(plain.without_prefect(plain.run_on(executor)))
    workspace = Workspace.create(place)
    for dump in (FIRST, DUMP):
        stages.corpus_flow(workspace, dump, CorpusOptions(images=f"{inputs['folder']}/{dump}"))
    key = stages.features_flow(workspace, FIRST, options, run)
    executor.client.run(warm_up, place, key)

    def work() -> pairs.Arrays:
        stages.features_flow(workspace, DUMP, options, run)
        return {"array": np.array(f"{place}/features/{key}/{DUMP}.zarr/patches")}

    return work


def warm_up(place: str, key: str) -> None:
    """Build the backbone and embed once; for every worker."""
    from tasks.engine import machine
    from tasks.features.backbones import load_backbone
    from tasks.features.rows import FeatureRows
    from tasks.workspace.workspace import Workspace

    workspace = Workspace.open(place)
    with machine.one_thread():
        spec = FeatureRows(workspace, key, (FIRST,)).backbone()
        backbone = load_backbone(workspace.storage, spec, "cpu")
        backbone.features(np.zeros((4, SIDE, SIDE, 3), np.uint8))


def reference(inputs: dict[str, Any]) -> pairs.Work:
    frozen = eager_backbone(inputs)
    files = sorted(Path(inputs["folder"], DUMP).iterdir())
    place = tempfile.mkdtemp(dir=inputs["folder"], prefix="reference-")
    grid = SIDE // frozen.patch

    def embedded(some: list[Path]) -> NDArray[np.float16]:
        squares = [geometry.square(np.array(Image.open(f).convert("RGB")), SIDE) for f in some]
        return frozen.features(np.stack(squares)).astype(np.float16)

    def work() -> pairs.Arrays:
        stored = zarr.create_array(
            f"{place}/patches",
            shape=(len(files), grid, grid, frozen.channels),
            chunks=(BATCH, grid, grid, frozen.channels),
            dtype="float16",
        )
        for first in range(0, len(files), BATCH):
            stored[first : first + BATCH] = embedded(files[first : first + BATCH])
        return {"array": np.array(f"{place}/patches")}

    embedded(files[:BATCH])
    torch.set_num_threads(inputs["threads"])
    return work


def eager_backbone(inputs: dict[str, Any]) -> backbones.Backbone:
    """float32, explicit attention."""
    import timm.layers

    timm.layers.set_fused_attn(False)
    model = backbones.bare_model(inputs["backbone"])
    if inputs["weights"] != "untrained":
        from tasks.features.backbones import weights_from_file

        backbones.load_weights(model, weights_from_file(inputs["weights"]))
    return backbones.freeze(model, inputs.get("layer"), "cpu")


def equal(inputs: dict[str, Any], ours: pairs.Arrays, reference: pairs.Arrays) -> str:
    a, b = (zarr.open_array(str(side["array"]), mode="r") for side in (ours, reference))
    worst, total = 1.0, 0.0
    for first in range(0, a.shape[0], BATCH):
        x, y = (side[first : first + BATCH].astype(np.float32) for side in (a, b))
        norms = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
        cosine = (x * y).sum(axis=-1) / norms
        worst, total = min(worst, float(cosine.min())), total + float(cosine.mean()) * len(x)
    return f"cosine of both features of a patch: least {worst:.6f}, mean {total / a.shape[0]:.6f}"


def more(inputs: dict[str, Any]) -> dict[str, Any]:
    from tasks.engine import machine

    return {"precision of ours": machine.precision("auto", "cpu")}


if __name__ == "__main__":
    pairs.main(sys.modules["__main__"])
