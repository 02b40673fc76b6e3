"""Stage clusters: codes, how many classes they hold, k-means restarts, the last iterations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stego_core.clustering import kmeans, stability
from stego_core.errors import CapacityError
from tasks.clusters.code_sample import SHARD_ROWS, CodesWork, drawn_codes, tokens_per_row
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.features.enough_images import classes_problem
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.options import ClustersOptions
from tasks.storage.storage import Storage
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record

VERSION = 5
CENTROIDS_FILE = layout.CENTROIDS_FILE


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
            codes = drawn_codes(self.storage, layout.codes(self.path))
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
    """One k-means run on a sample of the drawn codes; a shard is a restart."""

    storage: Storage
    path: str
    classes: int
    seed: int

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Centroids of one start, and their inertia on the codes that all are judged on."""
        watch = Stopwatch()
        with watch("read"):
            codes = drawn_codes(self.storage, layout.codes(self.path))
        with watch("infer"):
            run = kmeans.restart(codes, self.classes, self.seed, shard)
        path = restart_file(self.path, shard)
        content = tables.write_tensors(self.storage, path, {"centroids": run.centroids})
        record = Record(
            shard,
            (shard, shard + 1),
            run.centroids.nbytes,
            keys.digest(content),
            watch.seconds,
            results={"inertia": run.inertia, "iterations": run.iterations},
        )
        Folder(self.storage, f"{self.path}/restarts").record(record)
        return record


@dataclass(frozen=True)
class ClustersWork:
    """The best restart, brought to its end on all drawn codes: the only shard."""

    storage: Storage
    path: str
    best: int

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """The centroids that images are labelled with."""
        watch = Stopwatch()
        with watch("read"):
            codes = drawn_codes(self.storage, layout.codes(self.path))
            start = tables.read_tensors(self.storage, restart_file(self.path, self.best))
        with watch("infer"):
            run = kmeans.lloyd(codes, start["centroids"], tolerance=kmeans.FINAL_TOLERANCE)
        content = tables.write_tensors(
            self.storage, f"{self.path}/{CENTROIDS_FILE}", {"centroids": run.centroids}
        )
        results = {"inertia": run.inertia, "iterations": run.iterations}
        size, checksum = len(content), keys.digest(content)
        record = Record(shard, (0, 1), size, checksum, watch.seconds, results=results)
        Folder(self.storage, self.path).record(record)
        return record


def restart_file(path: str, restart: int) -> str:
    """Where a restart's centroids lie."""
    return f"{path}/restarts/{restart:03d}.safetensors"


def clusters_key(rows: FeatureRows, head_key: str, options: ClustersOptions) -> str:
    """Key of the clusters of a head's codes."""
    return keys.key("clusters", VERSION, options, {**rows.inputs(), "head": head_key})


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
        raise CapacityError(classes_problem(usable, least or 0) or "no number of classes is given")
    base = layout.clusters(clusters_key(rows, head_key, options))
    folder = workspace.folder(layout.codes(base))
    if folder.finished:
        return None
    head = heads.load_head(workspace.storage, head_key, "cpu")
    depth = int(head(torch.zeros(1, 1, rows.shape()[2])).shape[-1])
    tokens = tokens_per_row(rows, depth, options.max_tokens)
    sampled = Layout((rows.total * tokens, depth), "float32", SHARD_ROWS * tokens, tokens)
    arrays.create(workspace.storage, folder.path, {"codes": sampled})
    work = CodesWork(rows, head_key, folder.path, tokens, options.seed, device)
    shards = arrays.shard_count(rows.total, SHARD_ROWS)
    title = "codes" if head_key != heads.IDENTITY else "codes (raw features)"
    return Stage(folder, title, "crops", rows.total, shards, work, {"stage": "codes"})


def plan_stability(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """How stable each K is on the drawn codes; None if it is known, or if K is given.

    Raises:
        CapacityError: too few codes to tell.
    """
    if options.classes != "auto":
        return None
    workspace = rows.workspace
    base = layout.clusters(clusters_key(rows, head_key, options))
    folder = workspace.folder(layout.class_counts(base))
    if folder.finished:
        return None
    codes = arrays.open_array(workspace.storage, layout.codes(base), "codes")
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
    """All k-means runs; None if they are there."""
    workspace = rows.workspace
    base = layout.clusters(clusters_key(rows, head_key, options))
    folder = workspace.folder(layout.restarts(base))
    if folder.finished:
        return None
    classes = choice(rows, base, options)["classes"]
    work = RestartWork(workspace.storage, base, classes, options.seed)
    codes = arrays.open_array(workspace.storage, layout.codes(base), "codes")
    # The codes as read and those of valid rows; a few samples are small beside them.
    memory = 3 * codes.nbytes
    title = "k-means" if head_key != heads.IDENTITY else "k-means (raw features)"
    count = options.restarts
    return Stage(folder, title, "restarts", count, count, work, {"stage": "restarts"}, memory)


def finish_restarts(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Choose the restart of the lowest inertia."""
    inertias = [record.results["inertia"] for record in stage.folder.records(stage.shards)]
    return stage.finish(seconds, computed, inertias=inertias, best=int(np.argmin(inertias)))


def plan(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """The last iterations of the best restart; None if the clusters are there."""
    workspace = rows.workspace
    folder = workspace.folder(layout.clusters(clusters_key(rows, head_key, options)))
    if folder.finished:
        return None
    restarts = workspace.folder(layout.restarts(folder.path)).manifest()
    manifest: dict[str, Any] = {
        "stage": "clusters",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": {**rows.inputs(), "head": head_key},
        "backbone": rows.backbone().document(),
        "inertias": restarts["inertias"],
        "best": restarts["best"],
        **choice(rows, folder.path, options),
    }
    work = ClustersWork(workspace.storage, folder.path, restarts["best"])
    title = "clusters" if head_key != heads.IDENTITY else "clusters (raw features)"
    codes = arrays.open_array(workspace.storage, layout.codes(folder.path), "codes")
    return Stage(folder, title, "clusterings", 1, 1, work, manifest, 3 * codes.nbytes)


def choice(rows: FeatureRows, base: str, options: ClustersOptions) -> dict[str, Any]:
    """How many classes: as given, or as found, with the curve."""
    if options.classes != "auto":
        return {"classes": options.classes}
    found = rows.workspace.folder(layout.class_counts(base)).manifest()
    return {"classes": found["classes"], "stability": found["curve"]}


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Write the manifest of the clusters."""
    (record,) = stage.folder.records(stage.shards)
    return stage.finish(seconds, computed, **record.results)
