"""A GPU beside its own limits: features and head training, as stego_core does them.

    python benchmarks/gpu.py

- features: images a second of ViT-S/8 and ViT-B/8 at 224, products in bfloat16, and which share of
  the card's measured bfloat16 matrix rate their operations are (goal: 0.5 for B/8);
- head: 5,000 steps on cached features of S/8 (28×28 patches of 384 channels, rows in the memory of
  the host), batches prepared two steps ahead as the stage does it (goal: 30 seconds).

Needs stego_core, timm and psutil alone: neither Prefect nor Zarr nor a workspace. Weights are
random, which changes no work.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import harness
import numpy as np
import torch

from stego_core import backbone as backbones
from stego_core import batches, training
from stego_core.shifts import DEFAULT_WEIGHTS, Triple

BACKBONES = ("vit_small_patch8_224", "vit_base_patch8_224")
SIDE, MATRIX, AHEAD = 224, 8192, 2


def seconds(call: Callable[[], object], device: str, repeats: int) -> float:
    """Least wall time of some calls after one that warms up."""
    call()
    return min(timed(call, device) for _ in range(repeats))


def timed(call: Callable[[], object], device: str) -> float:
    """Wall time of a call until the device has finished it."""
    begun = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def matrix_rate(device: str, size: int, repeats: int) -> float:
    """Operations a second of a bfloat16 matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device, repeats)


def operations(backbone: backbones.Backbone) -> float:
    """Of one image's way through the blocks: 2 for each multiplication and its sum."""
    tokens, channels = (SIDE // backbone.patch) ** 2 + 1, backbone.channels
    depth = len(backbone.model.blocks)
    return 2.0 * depth * (12 * tokens * channels**2 + 2 * tokens**2 * channels)


def image_rate(backbone: backbones.Backbone, batch: int, repeats: int) -> float:
    images = np.zeros((batch, SIDE, SIDE, 3), np.uint8)
    return batch / seconds(lambda: backbone.features(images), backbone.device, repeats)


def training_seconds(device: str, steps: int, rows: int) -> float:
    """Of all steps, on random features, after some that warm up."""
    patches = np.random.default_rng(0).standard_normal((rows, 28, 28, 384)).astype(np.float16)
    every = np.arange(rows)
    positives = np.stack([(every + rank) % rows for rank in range(1, 8)], axis=1)
    data = batches.TrainingSet(lambda some: batches.Images(patches[some]), every, positives)
    recipe = training.Recipe(steps, 16, 11, 5e-4, 0, DEFAULT_WEIGHTS)
    shifts = Triple(0.1, 0.1, 0.1)
    make = partial(training.prepared, data, recipe, shifts, device)

    def run(count: int) -> None:
        state = training.start(384, 70, 0.1, recipe, shifts, device)
        for _ in training.train(state, data, recipe, ahead(make, count)):
            pass

    run(20)
    return timed(lambda: run(steps), device)


def ahead(make: Callable[[int], training.Prepared], count: int) -> Iterator[training.Prepared]:
    """Steps prepared in threads while those before them run."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting = [pool.submit(make, step) for step in range(min(AHEAD, count))]
        for step in range(AHEAD, count + AHEAD):
            ready = waiting.pop(0)
            if step < count:
                waiting.append(pool.submit(make, step))
            yield ready.result()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=128, help="images together")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--matrix", type=int, default=MATRIX, help="side of the matrices")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=512, help="training rows")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "error: torch finds no GPU here; this benchmark measures one (--device cpu tries it)"
        )
    rate = matrix_rate(chosen.device, chosen.matrix, chosen.repeats)
    print(f"products of {chosen.matrix} in bfloat16: {rate / 1e12:.1f} · 10¹² operations/s")
    found = {}
    for name in chosen.backbones:
        model = backbones.bare_model(name)
        backbone = backbones.freeze(model, None, chosen.device, precision="bfloat16")
        images = image_rate(backbone, chosen.batch, chosen.repeats)
        needed = operations(backbone)
        found[name] = {"images/s": images, "operations": needed, "share": images * needed / rate}
        print(f"{name}: {images:.1f} images/s, {images * needed / rate:.2f} of that rate")
    spent = training_seconds(chosen.device, chosen.steps, chosen.rows)
    print(f"head: {chosen.steps} steps in {spent:.1f} s")
    document = {
        "row": "gpu",
        "matrix_rate": rate,
        "features": found,
        "head": {"steps": chosen.steps, "seconds": spent},
        "options": {each: getattr(chosen, each) for each in ("device", "batch", "rows", "repeats")},
        "machine": harness.machine(),
        "versions": harness.versions_of(("torch", "timm")),
    }
    harness.write("gpu", document)


if __name__ == "__main__":
    main()
