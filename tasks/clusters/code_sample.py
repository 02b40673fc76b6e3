"""The sample of codes that clusters are made from: computed shard by shard, stored in Zarr."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.clustering import kmeans
from stego_core.head.head import MeanShiftHead
from stego_core.head.mean_shift import CLUSTERING, mean_shift, sampling_weights
from tasks.engine import machine
from tasks.engine.stage import Stopwatch
from tasks.engine.steps import GpuWork
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import arrays
from tasks.workspace.ledger import Folder, Record

SHARD_ROWS = 256
"""Feature rows of a shard."""
MAX_FLOATS = 64 * 2**20
"""Floats of the sampled codes at most; every worker of the stage holds them once (256 MiB)."""


@dataclass(frozen=True)
class CodesWork(GpuWork):
    """Codes of the tokens sampled from one shard of feature rows."""

    rows: FeatureRows
    head_key: str
    path: str
    tokens: int
    seed: int
    device: str

    def shard(self, shard: int) -> Record:
        """Unit codes of `tokens` tokens per row, those of invalid rows zero."""
        watch, storage = Stopwatch(), self.rows.storage
        span = arrays.shard_span(shard, SHARD_ROWS, self.rows.total)
        rows = np.arange(*span, dtype=np.int64)
        with watch("read"):
            patches = self.rows.read("patches", rows)
            valid = self.rows.read("valid", rows)
        head = heads.load_head(storage, self.head_key, self.device)
        with watch("infer"), torch.inference_mode():
            pairs = zip(rows.tolist(), patches, strict=True)
            codes = np.stack([self._row_codes(head, row, image) for row, image in pairs])
        codes = kmeans.unit(codes) * valid[:, None, None]
        codes = codes.reshape(len(rows) * self.tokens, -1).astype(np.float32)
        with watch("write"):
            size, checksum = arrays.write_shard(storage, self.path, "codes", shard, codes)
        record = Record(shard, span, size, checksum, watch.seconds)
        return Folder(storage, self.path).record(record)

    def _row_codes(
        self, head: torch.nn.Module, row: int, image: NDArray[np.float16]
    ) -> NDArray[np.float32]:
        patches = torch.from_numpy(image.astype(np.float32)).to(machine.device(self.device))
        return sample_codes(head, patches, self.tokens, np.random.default_rng([self.seed, row]))


def sample_codes(
    head: torch.nn.Module, patches: torch.Tensor, tokens: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Codes (tokens, D) of patches sampled from one row (h, w, C); the head sees the whole row.

    Where the head reads shifted features, patches are sampled by their `sampling_weights`, with
    replacement; else uniformly, without. Patches of zeros hold no data and are left out; codes are
    zeros where none are left.
    """
    image, chances = patches.reshape(1, -1, patches.shape[-1]), None
    with_data = (image[0] != 0).any(dim=-1)
    if not with_data.all():
        image = image[:, with_data]
    if not with_data.any():
        depth = head(patches.new_zeros(1, 1, patches.shape[-1])).shape[-1]
        return np.zeros((tokens, depth), np.float32)
    if isinstance(head, MeanShiftHead):
        head, image = head.head, mean_shift(image)
        weights = sampling_weights(image, CLUSTERING)[0].double().cpu().numpy()
        chances = weights / weights.sum()
    codes: NDArray[np.float32] = head(image)[0].cpu().numpy()
    most = tokens if chances is not None else min(tokens, len(codes))
    sample = generator.choice(len(codes), most, replace=chances is not None, p=chances)
    return np.pad(codes[np.sort(sample)], ((0, tokens - most), (0, 0)))


@remembered(1, stage_only=True)
def sampled_codes(storage: Storage, path: str) -> NDArray[np.float32]:
    """(n, D) unit codes of valid rows; read once per worker and stage."""
    codes: NDArray[np.float32] = arrays.read_rows(storage, path, "codes", slice(None))
    return np.asarray(codes[np.abs(codes).sum(axis=1) > 0])


def tokens_per_row(rows: FeatureRows, depth: int, most: int) -> int:
    """Tokens to sample from each row, at least one, so that about `most` are sampled in all."""
    height, width, _ = rows.shape()
    budget = min(most, MAX_FLOATS // depth)
    return int(np.clip(budget // rows.total, 1, height * width))
