"""Stage clusters: codes of a draw of tokens, how many classes they hold, k-means restarts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core import kmeans, stability
from stego_core.errors import CapacityError
from stego_core.head import MeanShiftHead
from stego_core.meanshift import CLUSTERING, mean_shift, sampling_weights
from tasks import machine, model
from tasks.options import ClustersOptions
from tasks.rows import FeatureRows
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import arrays, keys, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.storage import Storage

VERSION = 3
SHARD_ROWS = 256
MAX_FLOATS = 64 * 2**20
"""Floats of the drawn codes; every worker holds them once (256 MiB)."""
CENTROIDS_FILE = "centroids.safetensors"


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
        head = model.head(storage, self.head_key, self.device)
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
    come twice; else all are alike and none does.
    """
    image, chances = patches.reshape(1, -1, patches.shape[-1]), None
    if isinstance(head, MeanShiftHead):
        head, image = head.head, mean_shift(image)
        weights = sampling_weights(image, CLUSTERING)[0].double().cpu().numpy()
        chances = weights / weights.sum()
    codes: NDArray[np.float32] = head(image)[0].cpu().numpy()
    drawn = generator.choice(len(codes), tokens, replace=chances is not None, p=chances)
    return codes[np.sort(drawn)]


@dataclass(frozen=True)
class StabilityWork:
    """How stable each number of clusters is; a shard is a K, the first of them `LEAST`."""

    storage: Storage
    path: str
    seed: int

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Stability of one K on the drawn codes."""
        watch = Stopwatch()
        with watch("read"):
            codes = drawn_codes(self.storage, f"{self.path}/codes.zarr")
        clusters = shard + stability.LEAST
        with watch("infer"):
            generator = np.random.default_rng([self.seed, clusters])
            found = stability.stability(codes, clusters, generator)
        results = {"classes": clusters, "stability": found}
        checksum = keys.digest(keys.canonical(results))
        span = (shard, shard + 1)
        record = Record(shard, span, 0, checksum, watch.seconds, results=results)
        Folder(self.storage, f"{self.path}/classes").record(record)
        return record


@dataclass(frozen=True)
class RestartWork:
    """One k-means run on all drawn codes; a shard is a restart."""

    storage: Storage
    path: str
    classes: int
    seed: int

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Centroids and inertia of one start."""
        watch = Stopwatch()
        with watch("read"):
            codes = drawn_codes(self.storage, f"{self.path}/codes.zarr")
        with watch("infer"):
            run = kmeans.fit(codes, self.classes, np.random.default_rng([self.seed, shard]))
        content = tables.write_tensors(
            self.storage, restart_file(self.path, shard), {"centroids": run.centroids}
        )
        record = Record(
            shard,
            (shard, shard + 1),
            run.centroids.nbytes,
            keys.digest(content),
            watch.seconds,
            results={"inertia": run.inertia, "iterations": run.iterations},
        )
        Folder(self.storage, self.path).record(record)
        return record


def restart_file(path: str, restart: int) -> str:
    """Where a restart's centroids lie."""
    return f"{path}/restarts/{restart:03d}.safetensors"


@lru_cache(maxsize=1)
def drawn_codes(storage: Storage, path: str) -> NDArray[np.float32]:
    """(n, D) unit codes of valid rows; read once per worker."""
    codes: NDArray[np.float32] = arrays.read_rows(storage, path, "codes", slice(None))
    return np.asarray(codes[np.abs(codes).sum(axis=1) > 0])


def clusters_key(rows: FeatureRows, head_key: str, options: ClustersOptions) -> str:
    """Key of the clusters of a head's codes."""
    return keys.key("clusters", VERSION, options, {**rows.inputs(), "head": head_key})


def tokens_per_row(rows: FeatureRows, depth: int, most: int) -> int:
    """Tokens drawn from each row, at least one, so that about `most` are drawn in all."""
    height, width, _ = rows.shape()
    budget = min(most, MAX_FLOATS // depth)
    return int(np.clip(budget // rows.total, 1, height * width))


def plan_codes(
    rows: FeatureRows, head_key: str, options: ClustersOptions, device: str
) -> Stage | None:
    """Draw tokens and compute their codes; None if they are there.

    Raises:
        CapacityError: fewer rows than classes.
    """
    workspace = rows.workspace
    usable = int(rows.valid().sum())
    least = stability.LEAST if options.classes == "auto" else options.classes
    if least is None or usable < least:
        raise CapacityError(
            f"{usable} usable feature rows are fewer than the {least} classes; give more images "
            "or a smaller --classes"
        )
    base = f"clusters/{clusters_key(rows, head_key, options)}"
    folder = workspace.folder(f"{base}/codes.zarr")
    if folder.finished:
        return None
    head = model.head(workspace.storage, head_key, "cpu")
    depth = int(head(torch.zeros(1, 1, rows.shape()[2])).shape[-1])
    tokens = tokens_per_row(rows, depth, options.max_tokens)
    layout = Layout((rows.total * tokens, depth), "float32", SHARD_ROWS * tokens, tokens)
    arrays.create(workspace.storage, folder.path, {"codes": layout})
    work = CodesWork(rows, head_key, folder.path, tokens, options.seed, device)
    shards = arrays.shard_count(rows.total, SHARD_ROWS)
    title = "codes" if head_key != model.IDENTITY else "codes (raw features)"
    return Stage(folder, title, "crops", rows.total, shards, work, {"stage": "codes"})


def plan_stability(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """How stable each K is on the drawn codes; None if it is known, or if K is given.

    Raises:
        CapacityError: too few codes to tell.
    """
    if options.classes != "auto":
        return None
    workspace = rows.workspace
    base = f"clusters/{clusters_key(rows, head_key, options)}"
    folder = workspace.folder(f"{base}/classes")
    if folder.finished:
        return None
    codes = arrays.open_array(workspace.storage, f"{base}/codes.zarr", "codes")
    usable = int(rows.valid().sum()) * (codes.shape[0] // rows.total)
    most = min(options.max_classes, usable // 3)
    if most <= stability.LEAST:
        raise CapacityError(
            f"{usable} codes are too few to find out how many classes there are; give more images "
            "or a number with --classes"
        )
    work = StabilityWork(workspace.storage, base, options.seed)
    count = most - stability.LEAST + 1
    title = "how many classes"
    memory = 2 * codes.nbytes  # as read, and those of valid rows; what is drawn of them is small
    return Stage(folder, title, "numbers", count, count, work, {"stage": "classes"}, memory)


def finish_stability(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Propose a K."""
    found = [record.results for record in stage.folder.records(stage.shards)]
    curve = {int(each["classes"]): float(each["stability"]) for each in found}
    chosen = stability.proposed(curve)
    rows = [[clusters, round(value, 4)] for clusters, value in sorted(curve.items())]
    return stage.finish(seconds, computed, curve=rows, classes=chosen)


def plan_restarts(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """All k-means runs; None if the clusters are there."""
    workspace = rows.workspace
    folder = workspace.folder("clusters", clusters_key(rows, head_key, options))
    if folder.finished:
        return None
    choice: dict[str, Any] = {"classes": options.classes}
    if options.classes == "auto":
        found = workspace.folder(f"{folder.path}/classes").manifest()
        choice = {"classes": found["classes"], "stability": found["curve"]}
    work = RestartWork(workspace.storage, folder.path, choice["classes"], options.seed)
    manifest: dict[str, Any] = {
        "stage": "clusters",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": {**rows.inputs(), "head": head_key},
        "backbone": rows.backbone().document(),
        **choice,
    }
    title = "clusters" if head_key != model.IDENTITY else "clusters (raw features)"
    codes = arrays.open_array(workspace.storage, f"{folder.path}/codes.zarr", "codes")
    # The codes as read, those of valid rows, and the distances of the k-means++ start.
    memory = 3 * codes.nbytes
    restarts = options.restarts
    return Stage(folder, title, "restarts", restarts, restarts, work, manifest, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Keep the centroids of the lowest inertia."""
    inertias = [record.results["inertia"] for record in stage.folder.records(stage.shards)]
    best = int(np.argmin(inertias))
    storage = stage.folder.storage
    centroids = tables.read_tensors(storage, restart_file(stage.folder.path, best))
    tables.write_tensors(storage, f"{stage.folder.path}/{CENTROIDS_FILE}", centroids)
    return stage.finish(seconds, computed, inertias=inertias, best=best)
