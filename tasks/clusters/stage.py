"""Stage clusters: codes, how many classes they hold, k-means restarts, the last iterations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.clustering import kmeans, stability
from stego_core.errors import CapacityError
from tasks.clusters.code_sample import SHARD_ROWS, CodesWork, sampled_codes, tokens_per_row
from tasks.engine.stage import Finish, Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.features.enough_images import classes_problem
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.options import ClustersOptions
from tasks.storage.storage import Storage
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record

VERSION = 5
"""Raised whenever the same options would give other clusters."""


@dataclass(frozen=True)
class SampleWork(CpuWork):
    """Work on the sampled codes of a folder of clusters."""

    storage: Storage
    path: str

    def codes(self, watch: Stopwatch) -> NDArray[np.float32]:
        """The sampled codes."""
        with watch("read"):
            return sampled_codes(self.storage, layout.codes(self.path))

    def store(
        self, shard: int, folder: str, file: str, run: kmeans.Clustering, watch: Stopwatch
    ) -> Record:
        """Write the centroids of a k-means run, then its record."""
        content = tables.write_tensors(self.storage, file, {"centroids": run.centroids})
        results = {"inertia": run.inertia, "iterations": run.iterations}
        size, checksum, span = len(content), keys.digest(content), (shard, shard + 1)
        record = Record(shard, span, size, checksum, watch.seconds, results=results)
        return Folder(self.storage, folder).record(record)


@dataclass(frozen=True)
class StabilityWork(SampleWork):
    """How stable each number of clusters is; a shard is a K, the first of them `LEAST`."""

    seed: int

    def shard(self, shard: int) -> Record:
        """Stability of one K on the sampled codes."""
        watch, classes = Stopwatch(), shard + stability.LEAST
        codes = self.codes(watch)
        with watch("infer"):
            generator = np.random.default_rng([self.seed, classes])
            value = stability.stability(codes, classes, generator)
        results = {"classes": classes, "stability": value}
        checksum, span = keys.digest(keys.canonical(results)), (shard, shard + 1)
        record = Record(shard, span, 0, checksum, watch.seconds, results=results)
        return Folder(self.storage, layout.class_counts(self.path)).record(record)


@dataclass(frozen=True)
class RestartWork(SampleWork):
    """K-means runs on a sample of the codes; a shard is a restart."""

    classes: int
    seed: int

    def shard(self, shard: int) -> Record:
        """Centroids of one start, and their inertia on the codes that all are judged on."""
        watch = Stopwatch()
        codes = self.codes(watch)
        with watch("infer"):
            run = kmeans.restart(codes, self.classes, self.seed, shard)
        file = restart_file(self.path, shard)
        return self.store(shard, layout.restarts(self.path), file, run, watch)


@dataclass(frozen=True)
class ClustersWork(SampleWork):
    """The best restart, continued to its end on all sampled codes: the only shard."""

    best: int

    def shard(self, shard: int) -> Record:
        """The centroids that images are labelled with."""
        watch = Stopwatch()
        codes = self.codes(watch)
        with watch("read"):
            start = tables.read_tensors(self.storage, restart_file(self.path, self.best))
        with watch("infer"):
            run = kmeans.lloyd(codes, start["centroids"], tolerance=kmeans.FINAL_TOLERANCE)
        return self.store(shard, self.path, f"{self.path}/{layout.CENTROIDS_FILE}", run, watch)


def restart_file(path: str, restart: int) -> str:
    """Where a restart's centroids lie."""
    return f"{layout.restarts(path)}/{restart:03d}.safetensors"


def clusters_key(rows: FeatureRows, head_key: str, options: ClustersOptions) -> str:
    """Key of the clusters of a head's codes."""
    return keys.key("clusters", VERSION, options, {**rows.inputs(), "head": head_key})


def stages(
    rows: FeatureRows, head_key: str, options: ClustersOptions, device: str
) -> Iterator[tuple[Stage | None, Finish]]:
    """The parts of a clustering, each planned once the one before it is finished."""
    path = layout.clusters(clusters_key(rows, head_key, options))
    if not rows.workspace.folder(path).finished:
        yield plan_codes(rows, head_key, options, device), Stage.finish
        yield plan_stability(rows, head_key, options), finish_stability
        yield plan_restarts(rows, head_key, options), finish_restarts
        yield plan(rows, head_key, options), Stage.finish_single


def plan_codes(
    rows: FeatureRows, head_key: str, options: ClustersOptions, device: str
) -> Stage | None:
    """Plan to sample tokens and compute their codes; None if they are there.

    Raises:
        CapacityError: fewer rows than classes.
    """
    usable = int(rows.valid().sum())
    least = stability.LEAST if options.classes == "auto" else options.classes
    if least is None or usable < least:
        raise CapacityError(classes_problem(usable, least or 0) or "no number of classes is given")
    path = layout.clusters(clusters_key(rows, head_key, options))
    folder = rows.workspace.folder(layout.codes(path))
    if folder.finished:
        return None
    head = heads.load_head(rows.storage, head_key, "cpu")
    depth = int(head(torch.zeros(1, 1, rows.shape()[2])).shape[-1])
    tokens = tokens_per_row(rows, depth, options.max_tokens)
    codes = Layout((rows.total * tokens, depth), "float32", SHARD_ROWS * tokens, tokens)
    arrays.create(rows.storage, folder.path, {"codes": codes})
    work = CodesWork(rows, head_key, folder.path, tokens, options.seed, device)
    shards = arrays.shard_count(rows.total, SHARD_ROWS)
    title = _title("codes", head_key)
    return Stage(folder, title, "crops", rows.total, shards, work, {"stage": "codes"})


def plan_stability(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """Plan to measure how stable each K is; None if it is known, or if K is given.

    Raises:
        CapacityError: too few codes to tell.
    """
    path = layout.clusters(clusters_key(rows, head_key, options))
    folder = rows.workspace.folder(layout.class_counts(path))
    if options.classes != "auto" or folder.finished:
        return None
    codes = arrays.open_array(rows.storage, layout.codes(path), "codes")
    usable = int(rows.valid().sum()) * (codes.shape[0] // rows.total)
    most = min(options.max_classes, usable // 3)
    if most <= stability.LEAST:
        raise CapacityError(
            f"{usable} codes are too few to find out how many classes there are; give more images "
            "or a number with --classes"
        )
    work, count = StabilityWork(rows.storage, path, options.seed), most - stability.LEAST + 1
    memory = 2 * codes.nbytes  # as read, and those of valid rows; samples of them are small
    manifest = {"stage": "classes"}
    return Stage(folder, "how many classes", "numbers", count, count, work, manifest, memory)


def finish_stability(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Propose a K."""
    results = [record.results for record in stage.folder.records(stage.shards)]
    curve = {int(result["classes"]): float(result["stability"]) for result in results}
    rows = [[classes, round(value, 4)] for classes, value in sorted(curve.items())]
    return stage.finish(seconds, computed, curve=rows, classes=stability.proposed(curve))


def plan_restarts(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """Plan all k-means runs; None if they are there."""
    path = layout.clusters(clusters_key(rows, head_key, options))
    folder = rows.workspace.folder(layout.restarts(path))
    if folder.finished:
        return None
    classes = _class_count(rows, path, options)["classes"]
    work, count = RestartWork(rows.storage, path, classes, options.seed), options.restarts
    title, memory = _title("k-means", head_key), _sample_memory(rows, path)
    return Stage(folder, title, "restarts", count, count, work, {"stage": "restarts"}, memory)


def finish_restarts(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Choose the restart of the lowest inertia."""
    inertias = [record.results["inertia"] for record in stage.folder.records(stage.shards)]
    return stage.finish(seconds, computed, inertias=inertias, best=int(np.argmin(inertias)))


def plan(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """Plan the last iterations of the best restart; None if the clusters are there."""
    folder = rows.workspace.folder(layout.clusters(clusters_key(rows, head_key, options)))
    if folder.finished:
        return None
    restarts = rows.workspace.folder(layout.restarts(folder.path)).manifest()
    manifest: dict[str, Any] = {
        "stage": "clusters",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": {**rows.inputs(), "head": head_key},
        "backbone": rows.backbone().document(),
        "inertias": restarts["inertias"],
        "best": restarts["best"],
        **_class_count(rows, folder.path, options),
    }
    work = ClustersWork(rows.storage, folder.path, restarts["best"])
    title, memory = _title("clusters", head_key), _sample_memory(rows, folder.path)
    return Stage(folder, title, "clusterings", 1, 1, work, manifest, memory)


def _title(name: str, head_key: str) -> str:
    return name if head_key != heads.IDENTITY else f"{name} (raw features)"


def _sample_memory(rows: FeatureRows, path: str) -> int:
    """Bytes of the codes as read and of those of valid rows; smaller samples are a third of it."""
    return 3 * int(arrays.open_array(rows.storage, layout.codes(path), "codes").nbytes)


def _class_count(rows: FeatureRows, path: str, options: ClustersOptions) -> dict[str, Any]:
    """How many classes: as given, or as measured, with the curve."""
    if options.classes != "auto":
        return {"classes": options.classes}
    measured = rows.workspace.folder(layout.class_counts(path)).manifest()
    return {"classes": measured["classes"], "stability": measured["curve"]}
