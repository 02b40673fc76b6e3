"""Head training: from cached features with tokens drawn first, beside the published way.

    python benchmarks/head.py --images DIR [--weights FILE --layer 8 --backbone NAME]

Reference, from the published description: every step decodes nothing, but runs the backbone on its
16 images and on a neighbour of each (five-crops at 224, held in memory as pixels), the head on the
whole feature maps, then bilinear sampling at 11×11 places, and the loss as written down. A few of
its steps are timed and scaled to all. Ours: the stages features, neighbors and head, as they are,
on local Dask workers of one thread each, from image files to the trained head; Prefect takes no
part. Nothing of ours is scaled. The images' index is there on both sides, and so is the table of
neighbours for the reference.
"""

import argparse
import atexit
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import features
import harness
import numpy as np
import pairs
import plain
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from stego_core.head import correspondence
from stego_core.head.head import Head, channels_kept
from stego_core.head.shift_presets import DEFAULT_WEIGHTS, Triple
from stego_core.images import geometry

ROW, UNIT = "head", "s"
WORK = "head training, feature extraction included, five-crops at 224"
PACKAGES = ("timm", "distributed")
GOAL = 50.0
SIDE, BATCH, GRID, DRAWS, DEPTH, DROPOUT = 224, 16, 11, 5, 70, 0.1
SHIFTS = Triple(0.37, 0.37, 0.39)
"""Any would do: they change no work."""
DUMP = "images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, help="folder of images; default: generated scenes")
    parser.add_argument("--limit", type=int, help="images taken; default: all, or 40 scenes")
    parser.add_argument("--backbone", default="vit_small_patch16_224", help="timm's name")
    parser.add_argument("--weights", default="untrained", help="file; default: random ones")
    parser.add_argument("--layer", type=int, help="block that is read; default: the last")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--timed", type=int, default=30, help="steps of the reference")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(scenes=40)


def inputs(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    files = harness.found_images(chosen, folder)
    harness.copied(files, folder / DUMP)
    names = ("backbone", "weights", "layer", "steps", "timed", "seed")
    return {"folder": str(folder), "images": len(files)} | {
        name: getattr(chosen, name) for name in names
    }


def ours(inputs: dict[str, Any]) -> pairs.Work:
    from flows.runs import stages
    from tasks.engine import compute
    from tasks.features.rows import feature_rows
    from tasks.options import (
        ComputeOptions,
        CorpusOptions,
        FeaturesOptions,
        HeadOptions,
        NeighborsOptions,
    )
    from tasks.workspace.workspace import Workspace

    stack = ExitStack()
    atexit.register(stack.close)
    workspace = Workspace.create(tempfile.mkdtemp(dir=inputs["folder"], prefix="run-"))
    os.environ.update(plain.worker_environment())
    run = ComputeOptions(workers=inputs["threads"], device="cpu")
    crops = FeaturesOptions(
        **{name: inputs[name] for name in ("backbone", "weights", "layer")}, crop_size=SIDE
    )
    shifts = ",".join(map(str, SHIFTS))
    head = HeadOptions(recipe="stego", shifts=shifts, steps=inputs["steps"], seed=inputs["seed"])
    executor = stack.enter_context(compute.executor(run))
    stack.enter_context(plain.without_prefect(plain.run_on(executor)))
    stages.corpus_flow(workspace, DUMP, CorpusOptions(images=f"{inputs['folder']}/{DUMP}"))
    executor.client.run(plain.import_work)

    def work() -> pairs.Arrays:
        marks = [time.perf_counter()]
        key = stages.features_flow(workspace, DUMP, crops, run)
        marks.append(time.perf_counter())
        rows = feature_rows(workspace, key, [DUMP])
        table = stages.neighbors_flow(rows, DUMP, NeighborsOptions(), run)
        marks.append(time.perf_counter())
        stages.head_flow(rows, table, head, run)
        marks.append(time.perf_counter())
        return {"seconds": np.diff(marks)}

    return work


def reference(inputs: dict[str, Any]) -> pairs.Work:
    """Some steps that stand for all of them."""
    frozen = features.eager_backbone(inputs)
    crops = torch.from_numpy(all_crops(inputs))
    generator = torch.Generator().manual_seed(inputs["seed"])
    head = Head.create(frozen.channels, DEPTH, generator, DROPOUT)
    optimiser = torch.optim.Adam(head.parameters(), lr=5e-4)

    def step() -> float:
        chosen = torch.randint(len(crops), (2, BATCH), generator=generator)
        maps = [torch.from_numpy(frozen.features(crops[rows].numpy())) for rows in chosen]
        return published_step(head, optimiser, maps, generator)

    step()

    def work() -> pairs.Arrays:
        losses = [step() for _ in range(inputs["timed"])]
        return {"losses": np.array(losses), "scale": np.array(inputs["steps"] / inputs["timed"])}

    return work


def all_crops(inputs: dict[str, Any]) -> Any:
    """(5 · images, 224, 224, 3) uint8: decoding takes no part in the reference's time."""
    files = sorted(Path(inputs["folder"], DUMP).iterdir())
    return np.concatenate(
        [
            geometry.training_crops(np.array(Image.open(file).convert("RGB")), SIDE, five=True)
            for file in files
        ]
    )


def published_step(
    head: Head,
    optimiser: torch.optim.Optimizer,
    maps: list[Tensor],
    generator: torch.Generator,
    shifts: Triple = SHIFTS,
) -> float:
    """One step on feature maps (B, h, w, C) of anchors and positives, as described in the paper."""
    codes = [head(each, dropped(head, each, generator)) for each in maps]
    places = [torch.rand((BATCH, GRID, GRID, 2), generator=generator) * 2 - 1 for _ in range(2)]
    anchor, other, positive = (
        (sampled(maps[image], places[at]), sampled(codes[image], places[at]))
        for image, at in ((0, 0), (0, 1), (1, 1))
    )
    random = [correspondence.derangement(BATCH, generator) for _ in range(DRAWS)]
    partners = [(other[0][order], other[1][order]) for order in random]
    loss = DEFAULT_WEIGHTS.self * pair_loss(anchor, anchor, shifts.self)
    loss = loss + DEFAULT_WEIGHTS.knn * pair_loss(anchor, positive, shifts.knn)
    negatives = [pair_loss(anchor, partner, shifts.rand) for partner in partners]
    loss = loss + DEFAULT_WEIGHTS.rand * torch.stack(negatives).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def dropped(head: Head, maps: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Channels kept by both branches, for each image."""
    batch, channels = len(maps), maps.shape[-1]
    kept = (channels_kept(batch, channels, head.dropout, generator) for _ in range(2))
    return [keep[:, None, None] for keep in kept]


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """Bilinear values (B, C, n, n) of maps (B, h, w, C) at places in [−1, 1]."""
    images = maps.permute(0, 3, 1, 2)
    return F.grid_sample(images, places, padding_mode="border", align_corners=True)


def pair_loss(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], shift: float) -> Tensor:
    """Of features and codes, each (B, C, n, n)."""
    with torch.no_grad():
        wanted = cosines(one[0], other[0])
        mean = wanted.mean()
        wanted = wanted - wanted.mean(dim=[3, 4], keepdim=True)
        wanted = wanted - wanted.mean() + mean
    found = cosines(one[1], other[1])
    return -(found.clamp(0) * (wanted - shift)).mean()


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """(B, n, n, n, n)."""
    return torch.einsum(
        "bchw,bcij->bhwij", F.normalize(one, dim=1, eps=1e-10), F.normalize(other, dim=1, eps=1e-10)
    )


def equal(inputs: dict[str, Any], ours: pairs.Arrays, reference: pairs.Arrays) -> str:
    """Both losses on the same tokens; the draws differ: nearest patches against bilinear values."""
    generator = torch.Generator().manual_seed(inputs["seed"])

    def drawn(depth: int) -> list[Tensor]:
        return [torch.randn((BATCH, depth, GRID, GRID), generator=generator) for _ in range(3)]

    tokens, codes = drawn(64), drawn(DEPTH)
    order = correspondence.derangement(BATCH, generator)

    def compared(values: list[Tensor]) -> correspondence.Compared:
        flat = [F.normalize(each.flatten(2).transpose(1, 2), dim=-1) for each in values]
        return correspondence.Compared(*flat, order[None])

    wanted = correspondence.batch_shifted_correspondences(compared(tokens), SHIFTS)
    losses, _ = correspondence.batch_terms(compared(codes), wanted)
    theirs = [
        pair_loss((tokens[0], codes[0]), (tokens[at][rows], codes[at][rows]), shift)
        for at, rows, shift in zip((0, 1, 2), (..., ..., order), SHIFTS, strict=True)
    ]
    apart = max(abs(float(a - b)) for a, b in zip(losses, theirs, strict=True))
    return f"the three terms on the same random tokens differ by at most {apart:.1e}"


def more(inputs: dict[str, Any]) -> dict[str, Any]:
    seconds = np.load(Path(inputs["folder"], "ours.npz"))["seconds"].round(1).tolist()
    stages = dict(zip(("features", "neighbors", "head"), seconds, strict=True))
    return {"seconds of ours": stages, "reference": f"{inputs['timed']} steps, scaled"}


if __name__ == "__main__":
    pairs.main(sys.modules["__main__"])
