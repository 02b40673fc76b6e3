"""Stage clusters: codes, k-means restarts, the last iterations of the best one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.clustering import kmeans, silhouette
from stego_core.clustering.silhouette import FEATURES, Minimum
from stego_core.errors import CapacityError
from stego_core.head.head import MeanShiftHead
from tasks.clusters import code_sample
from tasks.clusters.code_sample import CODES, IMAGES, OBJECTS, SHARD_ROWS, SPACES, CodesWork
from tasks.engine.stage import Finish, Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.features.enough_images import classes_problem
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.log import Log
from tasks.options import LEAST_CLASSES, ClustersOptions
from tasks.storage.storage import Storage
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record

log = Log(__name__)

VERSION = 10
"""Raised whenever the same options would give other clusters."""
CHOICE = ("inertias", "best", "space", "minima")
"""What the manifest of the clusters keeps of their restarts."""


@dataclass(frozen=True)
class SampleWork(CpuWork):
    """Work on the sampled codes of a folder of clusters."""

    storage: Storage
    path: str

    def vectors(self, space: str, watch: Stopwatch) -> NDArray[np.float32]:
        """The sample of a space."""
        with watch("read"):
            return code_sample.vectors_of(self.storage, layout.codes(self.path), space)

    def store(
        self,
        shard: int,
        folder: str,
        file: str,
        run: kmeans.Clustering,
        watch: Stopwatch,
        **results: Any,
    ) -> Record:
        """Write the centroids of a k-means run, then its record."""
        content = tables.write_tensors(self.storage, file, {"centroids": run.centroids})
        results = {"inertia": run.inertia, "iterations": run.iterations, **results}
        size, checksum, span = len(content), keys.digest(content), (shard, shard + 1)
        record = Record(shard, span, size, checksum, watch.seconds, results=results)
        return Folder(self.storage, folder).record(record)


@dataclass(frozen=True)
class RestartWork(SampleWork):
    """K-means runs on a sample of each space; a shard is a restart, `restarts` of each space."""

    classes: int
    seed: int
    spaces: tuple[str, ...]
    restarts: int

    def shard(self, shard: int) -> Record:
        """Centroids of one start, and which minimum of what they are."""
        watch, (number, restart) = Stopwatch(), divmod(shard, self.restarts)
        space = self.spaces[number]
        vectors = self.vectors(space, watch)
        with watch("infer"):
            run = kmeans.restart(vectors, self.classes, self.seed, restart)
        minimum = Minimum(space, run.inertia, 0.0)
        if len(self.spaces) > 1:
            minimum = self._judged(space, run, watch)
        results = {**minimum._asdict()}
        file = restart_file(self.path, shard)
        return self.store(shard, layout.restarts(self.path), file, run, watch, **results)

    def _judged(self, space: str, run: kmeans.Clustering, watch: Stopwatch) -> Minimum:
        with watch("read"):
            path = layout.codes(self.path)
            tokens = code_sample.judged_tokens(self.storage, path, self.seed)
        with watch("infer"):
            clusters = tokens.clusters(space, run.centroids)
            judged = (clusters, self.classes, tokens.features, tokens.images)
            return Minimum.of(space, run.inertia, *judged)


@dataclass(frozen=True)
class ClustersWork(SampleWork):
    """The best restart, continued to its end on all vectors of its space: the only shard."""

    best: int
    space: str

    def shard(self, shard: int) -> Record:
        """The centroids that images are labelled with."""
        watch = Stopwatch()
        vectors = self.vectors(self.space, watch)
        with watch("read"):
            start = tables.read_tensors(self.storage, restart_file(self.path, self.best))
        with watch("infer"):
            run = kmeans.lloyd(vectors, start["centroids"], tolerance=kmeans.FINAL_TOLERANCE)
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
        yield plan_restarts(rows, head_key, options), finish_restarts
        yield plan(rows, head_key, options), Stage.finish_single


def class_count(rows: FeatureRows, options: ClustersOptions) -> int:
    """K: as given; for `auto` the most that are allowed, but no more than crops with data.

    A person merges clusters in a moment and cannot take one apart, so `auto` makes many.
    """
    if options.classes == "auto":
        return min(options.max_classes, int(rows.valid().sum()))
    assert options.classes is not None  # `plan_codes` refuses it
    return options.classes


def _few(classes: int, most: int) -> str:
    """What people are told where `auto` cannot make as many clusters as are allowed."""
    return (
        f"{classes} clusters are made and not {most} (--max-classes), because only {classes} "
        "crops hold data; more images give more clusters"
    )


def plan_codes(
    rows: FeatureRows, head_key: str, options: ClustersOptions, device: str
) -> Stage | None:
    """Plan to sample tokens and compute their codes; None if they are there.

    Raises:
        CapacityError: fewer rows than classes.
    """
    usable = int(rows.valid().sum())
    least = LEAST_CLASSES if options.classes == "auto" else options.classes
    if least is None or usable < least:
        raise CapacityError(classes_problem(usable, least or 0) or "no number of classes is given")
    path = layout.clusters(clusters_key(rows, head_key, options))
    folder = rows.workspace.folder(layout.codes(path))
    if folder.finished:
        return None
    depths = _depths(rows, head_key)
    deepest = depths[CODES] + depths.get(FEATURES, 0)
    sample = code_sample.token_sample(rows, deepest, options.max_tokens, options.seed)
    shard = (SHARD_ROWS * sample.tokens, sample.tokens)
    stored = {
        name: Layout((sample.vectors, depth), "float32", *shard) for name, depth in depths.items()
    }
    if FEATURES in depths:
        stored[IMAGES] = Layout((sample.vectors,), "int64", *shard)
    arrays.create(rows.storage, folder.path, stored)
    work = CodesWork(rows, head_key, folder.path, deepest, options.max_tokens, options.seed, device)
    shards = arrays.shard_count(len(sample.rows), SHARD_ROWS)
    manifest = {"stage": "codes", "spaces": SPACES if FEATURES in depths else SPACES[:1]}
    return Stage(
        folder, _title("codes", head_key), "crops", len(sample.rows), shards, work, manifest
    )


def _depths(rows: FeatureRows, head_key: str) -> dict[str, int]:
    """Depth of the vectors of each array of the sample."""
    head, channels = heads.load_head(rows.storage, head_key, "cpu"), rows.shape()[2]
    codes = int(head(torch.zeros(1, 1, channels)).shape[-1])
    if not isinstance(head, MeanShiftHead):
        return {CODES: codes}
    return {CODES: codes, FEATURES: channels, OBJECTS: codes}


def plan_restarts(rows: FeatureRows, head_key: str, options: ClustersOptions) -> Stage | None:
    """Plan all k-means runs; None if they are there."""
    path = layout.clusters(clusters_key(rows, head_key, options))
    folder = rows.workspace.folder(layout.restarts(path))
    if folder.finished:
        return None
    classes = class_count(rows, options)
    if options.classes == "auto" and classes < options.max_classes:
        log.warning(_few(classes, options.max_classes))
    spaces = code_sample.spaces(rows.workspace, path)
    work = RestartWork(rows.storage, path, classes, options.seed, spaces, options.restarts)
    count = len(spaces) * options.restarts
    title, memory = _title("k-means", head_key), _sample_memory(rows, path)
    return Stage(folder, title, "restarts", count, count, work, {"stage": "restarts"}, memory)


def finish_restarts(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Choose the restart of the lowest inertia, or where there are several spaces as `chosen`."""
    results = [record.results for record in stage.records()]
    minima = [Minimum(*(result[name] for name in Minimum._fields)) for result in results]
    one_space = len({minimum.space for minimum in minima}) == 1
    inertias = [minimum.inertia for minimum in minima]
    best = int(np.argmin(inertias)) if one_space else silhouette.chosen(minima)
    choice: dict[str, Any] = {"best": best, "space": minima[best].space}
    if not one_space:
        choice["minima"] = [minimum._asdict() for minimum in minima]
        if minima[best].space == FEATURES:
            log.info(
                "clusters of the features alone are kept: none that the head made possible "
                "separates this corpus better",
                silhouette=round(minima[best].silhouette, silhouette.DIGITS),
            )
    return stage.finish(seconds, computed, inertias=inertias, **choice)


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
        **{name: restarts[name] for name in CHOICE if name in restarts},
        "classes": class_count(rows, options),
    }
    work = ClustersWork(rows.storage, folder.path, restarts["best"], restarts["space"])
    title, memory = _title("clusters", head_key), _sample_memory(rows, folder.path)
    return Stage(folder, title, "clusterings", 1, 1, work, manifest, memory)


def _title(name: str, head_key: str) -> str:
    return name if head_key != heads.IDENTITY else f"{name} (raw features)"


def _sample_memory(rows: FeatureRows, path: str) -> int:
    """Bytes of the vectors as read and of those of valid rows; smaller samples are a third of it.

    Codes beside features are the deepest of them, and are put together from both.
    """
    deepest = heads.BESIDE in code_sample.spaces(rows.workspace, path)
    names = [CODES, FEATURES] if deepest else [CODES]
    folder = layout.codes(path)
    return 3 * sum(int(arrays.open_array(rows.storage, folder, name).nbytes) for name in names)
