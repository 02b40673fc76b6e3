"""Codes of a draw of tokens, what clusters are made from: computed shard by shard, kept in Zarr."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.clustering import kmeans
from stego_core.head.head import MeanShiftHead
from stego_core.head.mean_shift import CLUSTERING, mean_shift, sampling_weights
from tasks.engine import machine
from tasks.engine.stage import Stopwatch
from tasks.engine.steps import Step
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.storage.storage import Storage
from tasks.workspace import arrays
from tasks.workspace.ledger import Folder, Record

SHARD_ROWS = 256
MAX_FLOATS = 64 * 2**20
"""Floats of the drawn codes; every worker holds them once (256 MiB)."""


@dataclass(frozen=True)
class CodesWork:
    """Codes of the tokens drawn from one shard of feature rows."""

    rows: FeatureRows
    head_key: str
    path: str
    tokens: int
    seed: int
    device: str

    def steps(self) -> Sequence[Step]:
        """One step, on a GPU where there is one."""
        return [Step(self.shard, gpu=True)]

    def shard(self, shard: int) -> Record:
        """Unit codes of `tokens` tokens per row, those of invalid rows zero."""
        watch = Stopwatch()
        first, last = shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, self.rows.total)
        rows = np.arange(first, last, dtype=np.int64)
        with watch("read"):
            patches = self.rows.read("patches", rows)
            valid = self.rows.read("valid", rows)
        storage = self.rows.workspace.storage
        head = heads.load_head(storage, self.head_key, self.device)
        with watch("infer"), torch.inference_mode():
            codes = np.stack(
                [
                    codes_drawn(
                        head,
                        torch.from_numpy(image.astype(np.float32)).to(machine.device(self.device)),
                        self.tokens,
                        np.random.default_rng([self.seed, row]),
                    )
                    for row, image in zip(rows.tolist(), patches, strict=True)
                ]
            )
        codes = kmeans.unit(codes) * valid[:, None, None]
        codes = codes.reshape(len(rows) * self.tokens, -1).astype(np.float32)
        with watch("write"):
            size, checksum = arrays.write_shard(storage, self.path, "codes", shard, codes)
        record = Record(shard, (first, last), size, checksum, watch.seconds)
        Folder(storage, self.path).record(record)
        return record


def codes_drawn(
    head: torch.nn.Module, patches: torch.Tensor, tokens: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Codes (tokens, D) of patches drawn from one row (h, w, C); the head sees the whole row.

    Where the head reads shifted features, patches are drawn by their `sampling_weights` and may
    come twice; else all are alike and none does. Patches of zeros hold no data and are not drawn;
    codes are zeros where none are left.
    """
    image, chances = patches.reshape(1, -1, patches.shape[-1]), None
    there = (image[0] != 0).any(dim=-1)
    if not there.all():
        image = image[:, there]
    if not there.any():
        depth = head(patches.new_zeros(1, 1, patches.shape[-1])).shape[-1]
        return np.zeros((tokens, depth), np.float32)
    if isinstance(head, MeanShiftHead):
        head, image = head.head, mean_shift(image)
        weights = sampling_weights(image, CLUSTERING)[0].double().cpu().numpy()
        chances = weights / weights.sum()
    codes: NDArray[np.float32] = head(image)[0].cpu().numpy()
    most = tokens if chances is not None else min(tokens, len(codes))
    drawn = generator.choice(len(codes), most, replace=chances is not None, p=chances)
    return np.pad(codes[np.sort(drawn)], ((0, tokens - most), (0, 0)))


@lru_cache(maxsize=1)
def drawn_codes(storage: Storage, path: str) -> NDArray[np.float32]:
    """(n, D) unit codes of valid rows; read once per worker."""
    codes: NDArray[np.float32] = arrays.read_rows(storage, path, "codes", slice(None))
    return np.asarray(codes[np.abs(codes).sum(axis=1) > 0])


def tokens_per_row(rows: FeatureRows, depth: int, most: int) -> int:
    """Tokens drawn from each row, at least one, so that about `most` are drawn in all."""
    height, width, _ = rows.shape()
    budget = min(most, MAX_FLOATS // depth)
    return int(np.clip(budget // rows.total, 1, height * width))
