"""A GPU beside its own limits: features, head training, neighbours, k-means and CRF.

    python benchmarks/gpu.py

Needs stego_core and what it imports, no workspace and no data: weights and pixels are random, which
changes no work. It takes a few minutes and prints, each with the share of the card's measured
bfloat16 matrix rate where operations can be counted:

- features: images a second of each backbone in bfloat16: from pixels to features in the
  memory of the host as the pipeline has it, the forward pass on the card alone, and that pass
  compiled by torch, which the pipeline does not do;
- head: steps a second of the published recipe on features of S/8 (28×28 patches of 384 channels,
  rows in the memory of the host), steps prepared two ahead as the stage does it;
- codes: images a second at short side 320 from pixels to codes, with backbone and head;
- neighbours: queries a second against 100,000 rows of 384 channels, k = 8;
- CRF: images of 320×320 a second, 27 classes, 10 iterations; and k-means, which is computed on the
  CPU: seconds of 10 restarts over 100,000 codes of depth 70, K = 27.

`--device cpu --quick` tries the script where there is no card.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a bare checkout too

from stego_core.backbone import vit
from stego_core.backbone.vit import Backbone
from stego_core.clustering import kmeans
from stego_core.head import training
from stego_core.head.batches import Images, TrainingSet
from stego_core.head.head import Head
from stego_core.head.shift_presets import DEFAULT_WEIGHTS, Triple
from stego_core.masks.crf import Crf
from stego_core.masks.segmenter import Segmenter
from stego_core.masks.torch_lattice import on_device
from stego_core.search.neighbor_table import Neighbors

FILE = Path(__file__).parent / "results" / "gpu.json"


class Size(NamedTuple):
    """A backbone and the images that it reads."""

    name: str
    side: int
    batch: int


SIZES = (
    Size("vit_small_patch8_224", 224, 128),
    Size("vit_base_patch8_224", 224, 128),
    Size("vit_small_patch14_dinov2", 518, 64),
    Size("vit_base_patch14_dinov2", 518, 32),
    Size("vit_small_patch16_dinov3", 224, 256),
)
QUICK = (Size("vit_tiny_patch16_224", 224, 4),)
BATCH, GRID, DEPTH, AHEAD = 16, 11, 70, 2


def seconds(call: Callable[[], object], device: str, repeats: int) -> float:
    """Least wall time of some calls after one that warms up."""
    call()
    return min(timed(call, device) for _ in range(repeats))


def timed(call: Callable[[], object], device: str) -> float:
    """Wall time of a call until the device has finished it."""
    begun = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def matrix_rate(device: str, size: int, repeats: int) -> float:
    """Operations a second of a bfloat16 matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds(lambda: a @ b, device, repeats)


def operations(backbone: Backbone, side: int) -> float:
    """Of one image's way through the blocks: 2 for each multiplication and its sum."""
    tokens, channels = (side // backbone.patch) ** 2 + 1, backbone.channels
    vit_model: Any = backbone.model  # nn.Module does not know timm's attributes
    return 2.0 * len(vit_model.blocks) * (12 * tokens * channels**2 + 2 * tokens**2 * channels)


def feature_rates(size: Size, device: str, repeats: int, compiled: bool) -> dict[str, float]:
    """Images a second, and the operations of one."""
    backbone = vit.freeze(vit.bare_model(size.name), None, device, precision="bfloat16")
    pixels = np.zeros((size.batch, size.side, size.side, 3), np.uint8)
    shape = (size.batch, 3, size.side, size.side)
    batch = torch.zeros(shape, device=device, dtype=torch.bfloat16)
    forward = backbone.model.forward_features
    ways: dict[str, Callable[[], object]] = {
        "images/s": lambda: backbone.features(pixels),
        "forward images/s": lambda: forward(batch),
    }
    if compiled:
        fast = torch.compile(forward)
        ways["compiled images/s"] = lambda: fast(batch)
    with torch.inference_mode():
        rates = {name: size.batch / seconds(way, device, repeats) for name, way in ways.items()}
    return {**rates, "operations": operations(backbone, size.side)}


def code_rate(device: str, repeats: int, name: str) -> float:
    """Images a second from 426×320 pixels to codes, one after another, as masks are made."""
    backbone = vit.freeze(vit.bare_model(name), None, device, precision="bfloat16")
    head = Head(backbone.channels, DEPTH, 0.1).eval().requires_grad_(False).to(device)
    segmenter = Segmenter(backbone, head, np.eye(27, DEPTH, dtype=np.float32))
    image = np.random.default_rng(0).integers(0, 256, (320, 426, 3), dtype=np.uint8)
    return 1 / seconds(lambda: segmenter.codes(image), device, repeats)


def step_rate(device: str, steps: int, rows: int) -> float:
    """Steps of head training a second, after some that warm up."""
    patches = np.random.default_rng(0).standard_normal((rows, 28, 28, 384)).astype(np.float16)
    every = np.arange(rows)
    positives = np.stack([(every + rank) % rows for rank in range(1, 8)], axis=1)
    data = TrainingSet(lambda some: Images(patches[some]), every, positives)
    recipe = training.Recipe(
        steps, BATCH, GRID, 5e-4, 0, DEFAULT_WEIGHTS, precision="bfloat16"
    )  # fmt: skip
    shifts = Triple(0.1, 0.1, 0.1)
    make = partial(training.prepare_step, data, recipe, shifts, device)

    def run(count: int) -> None:
        state = training.start(384, DEPTH, 0.1, recipe, shifts, device)
        for _ in training.train(state, recipe, ahead(make, count)):
            pass

    run(min(20, steps))
    return steps / timed(lambda: run(steps), device)


def ahead(
    make: Callable[[int], training.PreparedStep], count: int
) -> Iterator[training.PreparedStep]:
    """Steps prepared in threads while those before them run."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting = [pool.submit(make, step) for step in range(min(AHEAD, count))]
        for step in range(AHEAD, count + AHEAD):
            ready = waiting.pop(0)
            if step < count:
                waiting.append(pool.submit(make, step))
            yield ready.result()


def query_rate(device: str, rows: int, repeats: int) -> float:
    """Queries a second against so many rows."""
    vectors = kmeans.unit(np.random.default_rng(0).standard_normal((rows, 384)).astype(np.float32))
    queries, ids = vectors[: min(rows, 8192)], np.arange(rows)
    table = Neighbors.create(len(queries), 8)
    search = partial(table.with_rows, queries, vectors, ids, device)
    return len(queries) / seconds(search, device, repeats)


def crf_rate(device: str, repeats: int) -> float:
    """Images a second, of smooth random pictures."""
    draw = np.random.default_rng(0)
    coarse = torch.from_numpy(draw.integers(0, 256, (1, 3, 20, 20)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (320, 320), mode="bicubic")
    image = smooth[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()
    scores = torch.from_numpy(draw.standard_normal((1, 27, 20, 20)).astype(np.float32))
    fine = torch.nn.functional.interpolate(3 * scores, (320, 320), mode="bilinear")[0]
    crf = on_device(Crf(), device)
    return 1 / seconds(lambda: crf.refine(fine.log_softmax(0).numpy(), image), device, repeats)


def kmeans_seconds(codes: int) -> float:
    """Of ten restarts on one thread of the CPU."""
    draw = np.random.default_rng(0).standard_normal((codes, DEPTH)).astype(np.float32)
    vectors = kmeans.unit(draw)
    return timed(lambda: [kmeans.restart(vectors, 27, 0, n) for n in range(10)], "cpu")


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices")
    parser.add_argument("--steps", type=int, default=2000, help="of head training")
    parser.add_argument("--rows", type=int, default=512, help="training rows")
    parser.add_argument("--vectors", type=int, default=100_000, help="for neighbours and k-means")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled pass out")
    parser.add_argument("--quick", action="store_true", help="one small backbone, little of all")
    chosen = parser.parse_args()
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(
            "error: torch finds no GPU here; this benchmark measures one "
            "(--device cpu --quick tries the script)"
        )
    if chosen.quick:
        chosen.repeats, chosen.matrix, chosen.steps, chosen.rows = 2, 1024, 4, 32
        chosen.vectors, chosen.no_compile = 2_000, True
    sizes = QUICK if chosen.quick else SIZES
    found = measured(chosen, sizes)
    name = torch.cuda.get_device_name(chosen.device) if "cuda" in chosen.device else "cpu"
    found["machine"] = {"device": name, "processor": platform.processor() or platform.machine()}
    found["versions"] = {each: version(each) for each in ("torch", "timm", "numpy")}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(f"written: {FILE}\n")


def measured(chosen: argparse.Namespace, sizes: tuple[Size, ...]) -> dict[str, Any]:
    """All figures, printed as they come."""
    device, repeats = chosen.device, chosen.repeats
    rate = matrix_rate(device, chosen.matrix, repeats)
    say(f"products of {chosen.matrix} in bfloat16: {rate / 1e12:.2f} · 10¹² operations/s")
    features = {}
    for size in sizes:
        rates = feature_rates(size, device, repeats, not chosen.no_compile)
        features[f"{size.name} at {size.side}"] = rates
        shown = (
            f"{value:.1f} {way} ({value * rates['operations'] / rate:.0%} of that rate)"
            for way, value in rates.items()
            if way != "operations"
        )
        say(f"{size.name} at {size.side}: {', '.join(shown)}")
    parts: dict[str, Callable[[], float]] = {
        "codes, images/s": lambda: code_rate(device, repeats, sizes[0].name),
        "head, steps/s": lambda: step_rate(device, chosen.steps, chosen.rows),
        "neighbours, queries/s": lambda: query_rate(device, chosen.vectors, repeats),
        "crf, images/s": lambda: crf_rate(device, repeats),
        "k-means on the CPU, s": lambda: kmeans_seconds(chosen.vectors),
    }
    values = {}
    for name, part in parts.items():
        values[name] = part()
        say(f"{name}: {values[name]:.2f}")
    return {"row": "gpu", "matrix_rate": rate, "features": features, **values}


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
