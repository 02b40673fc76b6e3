"""How many clusters k-means makes: as given, or many, with a measure of how many are stable.

A person merges clusters in seconds and cannot take one apart, so `auto` makes many. The report
shows up to which number k-means finds them again in other data.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stego_core.clustering import stability
from stego_core.errors import CapacityError
from tasks.clusters import code_sample
from tasks.clusters.code_sample import CODES, OBJECTS
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.features.rows import FeatureRows
from tasks.log import Log
from tasks.options import ClustersOptions
from tasks.storage.storage import Storage
from tasks.workspace import arrays, keys, layout
from tasks.workspace.ledger import Folder, Record

log = Log(__name__)


@dataclass(frozen=True)
class StabilityWork(CpuWork):
    """How stable each number of clusters is; a shard is a K, the first of them `LEAST`."""

    storage: Storage
    path: str
    seed: int
    space: str

    def shard(self, shard: int) -> Record:
        """Stability of one K on the sampled codes."""
        watch, classes = Stopwatch(), shard + stability.LEAST
        with watch("read"):
            codes = code_sample.vectors_of(self.storage, layout.codes(self.path), self.space)
        with watch("infer"):
            generator = np.random.default_rng([self.seed, classes])
            value = stability.stability(codes, classes, generator)
        results = {"classes": classes, "stability": value}
        checksum, span = keys.digest(keys.canonical(results)), (shard, shard + 1)
        record = Record(shard, span, 0, checksum, watch.seconds, results=results)
        return Folder(self.storage, layout.class_counts(self.path)).record(record)


def plan(rows: FeatureRows, path: str, options: ClustersOptions) -> Stage | None:
    """Plan to measure how stable each K is; None if it is known, or if K is given.

    Args:
        path: of the clusters; their codes are sampled.

    Raises:
        CapacityError: too few codes to tell.
    """
    folder = rows.workspace.folder(layout.class_counts(path))
    if options.classes != "auto" or folder.finished:
        return None
    spaces = code_sample.spaces(rows.workspace, path)
    space = OBJECTS if OBJECTS in spaces else CODES
    codes = arrays.open_array(rows.storage, layout.codes(path), space)
    usable = int(rows.valid().mean() * codes.shape[0])
    classes = class_count(rows, options)
    if classes < options.max_classes:
        log.warning("clusters are as few as crops", clusters=classes, asked=options.max_classes)
    most = min(classes, usable // 3)
    if most <= stability.LEAST:
        raise CapacityError(
            f"{usable} codes are too few to find out how many classes there are; give more images "
            "or a number with --classes"
        )
    work, count = StabilityWork(rows.storage, path, options.seed, space), most - stability.LEAST + 1
    memory = 2 * codes.nbytes  # as read, and those of valid rows; samples of them are small
    manifest = {"stage": "classes"}
    return Stage(folder, "how many are stable", "numbers", count, count, work, manifest, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """The curve, and its largest stable number."""
    results = [record.results for record in stage.folder.records(stage.shards)]
    curve = {int(result["classes"]): float(result["stability"]) for result in results}
    rows = [[classes, round(value, 4)] for classes, value in sorted(curve.items())]
    return stage.finish(seconds, computed, curve=rows, stable=stability.stable_count(curve))


def class_count(rows: FeatureRows, options: ClustersOptions) -> int:
    """K: as given; for `auto` the most that are allowed, but no more than crops with data."""
    if options.classes == "auto":
        return min(options.max_classes, int(rows.valid().sum()))
    assert options.classes is not None  # `plan_codes` refuses it
    return options.classes


def measured(rows: FeatureRows, path: str, options: ClustersOptions) -> dict[str, Any]:
    """The curve and the stable number of clusters, as the clusters' manifest keeps them."""
    if options.classes != "auto":
        return {}
    manifest = rows.workspace.folder(layout.class_counts(path)).manifest()
    return {"stability": manifest["curve"], "stable": manifest["stable"]}
