"""Our way beside what people use today, as ratios from one run: `python benchmarks/speed.py`.

- head step: tokens drawn before the head runs, against codes for whole feature maps with tokens
  drawn from them afterwards (bilinear grid sampling, as in the published code);
- neighbours: blocks through faiss with merging, against one matrix product and `topk`.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from stego_core import training
from stego_core.correspondence import Sampled, batch_terms, derangement
from stego_core.neighbors import Neighbors
from stego_core.shifts import DEFAULT_WEIGHTS, Triple

RECIPE = training.Recipe(100, 16, 11, 5e-4, 0, DEFAULT_WEIGHTS)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time after one warm-up."""
    call()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def head_steps(channels: int, side: int) -> tuple[Callable[[], object], Callable[[], object]]:
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((64, side, side, channels)).astype(np.float16)
    rows = np.arange(64)
    positives = np.stack([(rows + 1) % 64] * 7, 1)
    data = training.TrainingSet(lambda r: training.Images(patches[r]), rows, positives)
    state = training.start(channels, 70, 0.1, RECIPE, Triple(0.45, 0.45, 0.4), "cpu")

    def tokens_first() -> None:
        generator = training.step_generator(0, state.step + 1)
        batch = training.draw_batch(data, RECIPE, generator)
        training.train_step(state, batch, RECIPE, generator)

    def maps_first() -> None:
        generator = training.step_generator(0, state.step + 1)
        anchors = torch.randint(64, (16,), generator=generator).numpy()
        maps = [torch.from_numpy(patches[i].astype(np.float32)) for i in (anchors, anchors[::-1])]
        codes = [state.head(part, generator) for part in maps]
        grids = [torch.rand((16, 11, 11, 2), generator=generator) * 2 - 1 for _ in range(2)]

        def at(part: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
            sampled = F.grid_sample(
                part.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=True
            )
            return sampled.flatten(2).transpose(1, 2)

        pairs = [
            Sampled(at(maps[i], grids[g]), at(codes[i], grids[g]))
            for i, g in ((0, 0), (1, 1), (0, 1))
        ]
        draws = torch.stack([derangement(16, generator) for _ in range(5)])
        losses, _ = batch_terms(*pairs, draws, state.shifts)
        state.optimiser.zero_grad()
        sum(losses).backward()
        state.optimiser.step()

    return tokens_first, maps_first


def neighbours(rows: int, channels: int) -> tuple[Callable[[], object], Callable[[], object]]:
    vectors = np.random.default_rng(0).standard_normal((rows, channels)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries, ids = vectors[:2048], np.arange(rows)

    def blocks() -> None:
        table = Neighbors.create(len(queries), 30)
        for first in range(0, rows, 16_384):
            part = slice(first, first + 16_384)
            table = table.add(queries, vectors[part], ids[part])

    def product() -> None:
        cosine = torch.einsum("nc,mc->nm", torch.from_numpy(queries), torch.from_numpy(vectors))
        cosine.topk(30)

    return blocks, product


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    cases = {
        "head step, 14×14 patches × 192": head_steps(192, 14),
        "head step, 28×28 patches × 384": head_steps(384, 28),
        "2,048 queries among 50,000 × 384": neighbours(50_000, 384),
    }
    print(f"torch threads {chosen.threads}, median of {chosen.repeats}")
    for name, (ours, theirs) in cases.items():
        a, b = seconds(ours, chosen.repeats), seconds(theirs, chosen.repeats)
        print(f"{name:<36} ours {a:.3f} s   usual {b:.3f} s   usual / ours {b / a:.2f}")


if __name__ == "__main__":
    main()
