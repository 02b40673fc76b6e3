"""The samples of codes that clusters are made from: computed shard by shard, stored in Zarr.

Of a head that reads shifted features there are two: tokens sampled alike (`CODES`), whose features
(`FEATURES`) are stored beside them, and tokens of which each object has as many (`OBJECTS`). Of
other heads there is the first alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.clustering import kmeans
from stego_core.clustering.silhouette import FEATURES
from stego_core.head.head import MeanShiftHead
from stego_core.head.mean_shift import CLUSTERING, mean_shift, sampling_weights
from tasks.engine import machine
from tasks.engine.stage import Stopwatch
from tasks.engine.steps import GpuWork
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import arrays, layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

SHARD_ROWS = 256
"""Feature rows of a shard."""
MAX_FLOATS = 64 * 2**20
"""Floats of a sample at most; every worker of the stage holds one at once (256 MiB)."""
CODES = "codes"
"""The array of the codes of tokens sampled alike."""
IMAGES = "images"
"""The array of the images that these tokens are of, as numbers."""
OBJECTS = "objects"
"""The array of the codes of tokens sampled by `sampling_weights`."""
SPACES = (heads.CODES, OBJECTS, heads.BESIDE, FEATURES)
"""What k-means clusters of a head that reads shifted features: codes of tokens sampled alike,
codes of as many tokens of each object, codes beside features, and features alone. Each of them wins
on some corpora, and falls far behind on others (docs/notes/quality.md)."""
JUDGED = 16_384
"""Tokens on which clusters of different spaces are compared, at most."""

Vectors = NDArray[np.float32]


class TokenSample(NamedTuple):
    """Which rows are sampled, and how many tokens of each.

    Attributes:
        rows: sorted global rows; all of them, unless there are more than vectors may be kept.
        tokens: of each row, at least one.
    """

    rows: NDArray[np.int64]
    tokens: int

    @property
    def vectors(self) -> int:
        """Tokens of all rows."""
        return len(self.rows) * self.tokens


def token_sample(rows: FeatureRows, depth: int, most: int, seed: int) -> TokenSample:
    """About `most` tokens, or as many as vectors of this depth fit `MAX_FLOATS`, evenly by row."""
    height, width, _ = rows.shape()
    budget = max(min(most, MAX_FLOATS // depth), 1)
    sampled = np.arange(rows.total, dtype=np.int64)
    if rows.total > budget:
        sampled = np.sort(np.random.default_rng(seed).choice(sampled, budget, replace=False))
    return TokenSample(sampled, int(np.clip(budget // len(sampled), 1, height * width)))


@dataclass(frozen=True)
class CodesWork(GpuWork):
    """Codes of the tokens sampled from one shard of the sampled rows."""

    rows: FeatureRows
    head_key: str
    path: str
    depth: int
    max_tokens: int
    seed: int
    device: str

    def shard(self, shard: int) -> Record:
        """Unit vectors of the tokens of each row, in each array; those of invalid rows zero."""
        watch, storage = Stopwatch(), self.rows.storage
        sample = token_sample(self.rows, self.depth, self.max_tokens, self.seed)
        span = arrays.shard_span(shard, SHARD_ROWS, len(sample.rows))
        rows = sample.rows[slice(*span)]
        with watch("read"):
            patches = self.rows.read("patches", rows)
            valid = self.rows.read("valid", rows)
        head = heads.load_head(storage, self.head_key, self.device)
        device = machine.device(self.device)
        with watch("infer"):
            samples = [
                samples_of(
                    head,
                    torch.from_numpy(image.astype(np.float32)).to(device),
                    sample.tokens,
                    np.random.default_rng([self.seed, row]),
                )
                for row, image in zip(rows.tolist(), patches, strict=True)
            ]
        sizes, checksums = [], []
        with watch("write"):
            for name in samples[0]:
                vectors = kmeans.unit(np.stack([each[name] for each in samples]))
                vectors = (vectors * valid[:, None, None]).reshape(-1, vectors.shape[-1])
                size, checksum = arrays.write_shard(
                    storage, self.path, name, shard, vectors.astype(np.float32)
                )
                sizes.append(size)
                checksums.append(checksum)
            if FEATURES in samples[0]:
                images = np.repeat(rows // self.rows.crops(), sample.tokens)
                sizes.append(arrays.write_shard(storage, self.path, IMAGES, shard, images)[0])
        record = Record(shard, span, sum(sizes), checksums[0], watch.seconds)
        return Folder(storage, self.path).record(record)


@torch.inference_mode()
def samples_of(
    head: nn.Module, patches: Tensor, tokens: int, generator: np.random.Generator
) -> dict[str, Vectors]:
    """The samples (tokens, depth) of one row's patches (h, w, C); the head sees the whole row.

    Patches of zeros hold no data and are left out; vectors are zeros where no token is left.
    """
    image = patches.reshape(1, -1, patches.shape[-1])
    image = image[:, (image[0] != 0).any(dim=-1)]
    if not isinstance(head, MeanShiftHead):
        return {CODES: _alike(head(image)[0].cpu().numpy(), tokens, generator)}
    shifted = mean_shift(image)
    codes = head.head(shifted)[0].cpu().numpy()
    both = _alike(np.concatenate([codes, image[0].cpu().numpy()], axis=1), tokens, generator)
    weights = sampling_weights(shifted, CLUSTERING)[0].double().cpu().numpy()
    objects = np.zeros((tokens, codes.shape[1]), np.float32)
    if len(codes):
        chances = weights / weights.sum()
        objects = codes[np.sort(generator.choice(len(codes), tokens, replace=True, p=chances))]
    depth = codes.shape[1]
    return {CODES: both[:, :depth], FEATURES: both[:, depth:], OBJECTS: objects}


def _alike(vectors: Vectors, tokens: int, generator: np.random.Generator) -> Vectors:
    """A sample without replacement, padded with zeros where there are fewer vectors."""
    most = min(tokens, len(vectors))
    sample = np.sort(generator.choice(len(vectors), most, replace=False))
    return np.pad(vectors[sample], ((0, tokens - most), (0, 0)))


def spaces(workspace: Workspace, path: str) -> tuple[str, ...]:
    """The spaces of some clusters' sample, once it is finished."""
    return tuple(workspace.folder(layout.codes(path)).manifest()["spaces"])


@remembered(1, stage_only=True)
def vectors_of(storage: Storage, path: str, space: str) -> Vectors:
    """(n, depth) unit vectors of a space, of valid rows; each worker keeps those read last."""
    if space == heads.BESIDE:
        return _beside(*_tokens(storage, path)[:2])
    vectors = _stored(storage, path, space)
    return np.asarray(vectors[vectors.any(axis=1)])


class JudgedTokens(NamedTuple):
    """Tokens on which clusters of different spaces are compared: vectors of norm 1, and images."""

    codes: Vectors
    features: Vectors
    images: NDArray[np.int64]

    def clusters(self, space: str, centroids: Vectors) -> NDArray[np.int64]:
        """(n,) the nearest of a space's centroids."""
        vectors = self.features if space == FEATURES else self.codes
        if space == heads.BESIDE:
            vectors = _beside(self.codes, self.features)
        return np.asarray((vectors @ centroids.T).argmax(axis=1))


@remembered(1, stage_only=True)
def judged_tokens(storage: Storage, path: str, seed: int) -> JudgedTokens:
    """At most `JUDGED` of the tokens sampled alike; read once per worker and stage."""
    codes, features, images = _tokens(storage, path)
    count = min(JUDGED, len(codes))
    rows = np.sort(np.random.default_rng(seed).choice(len(codes), count, replace=False))
    return JudgedTokens(codes[rows], features[rows], images[rows])


def _tokens(storage: Storage, path: str) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """Codes, features and images of the tokens sampled alike, of valid rows."""
    codes = _stored(storage, path, CODES)
    valid = codes.any(axis=1)
    images: NDArray[np.int64] = arrays.read_rows(storage, path, IMAGES, slice(None))
    return codes[valid], _stored(storage, path, FEATURES)[valid], images[valid]


def _beside(codes: Vectors, features: Vectors) -> Vectors:
    """Vectors as `BesideFeatures` makes them, scaled to norm 1."""
    return np.concatenate([codes, features], axis=1) * np.float32(0.5**0.5)


def _stored(storage: Storage, path: str, name: str) -> Vectors:
    vectors: Vectors = arrays.read_rows(storage, path, name, slice(None))
    return vectors
