"""Stage taught clusters: what lessons make of clusters, in a folder of clusters of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.errors import InputError
from stego_core.teaching.propagation import Lessons
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.masks.segmenter import SegmenterSpec
from tasks.teaching.graph import read_graph
from tasks.teaching.lesson_patches import VERSION, TaughtPatch, lesson_features, taught_key
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace


@dataclass(frozen=True)
class TaughtWork(CpuWork):
    """Spreads the lessons along the graph of patches: the only shard."""

    workspace: Workspace
    spec: SegmenterSpec
    graph_key: str
    patches: tuple[TaughtPatch, ...]
    classes: int
    path: str

    def shard(self, shard: int) -> Record:
        """Write the taught model, then the record."""
        watch, storage = Stopwatch(), self.workspace.storage
        with watch("read"):
            stored = read_graph(storage, self.graph_key)
            features = np.stack([*lesson_features(self.workspace, self.spec, self.patches)])
        with watch("infer"):
            classes = np.array([patch.cls for patch in self.patches], np.int64)
            lessons = Lessons(stored.projection(features), classes)
            probabilities = stored.propagation(self.classes).taught(lessons)
        centroids = with_added(self.spec.centroids(), stored.cosines, probabilities)
        content = tables.write_tensors(
            storage,
            f"{self.path}/{layout.TAUGHT_FILE}",
            {
                "mean": stored.projection.mean,
                "axes": stored.projection.axes,
                "positions": stored.graph.positions,
                "probabilities": probabilities,
            },
        )
        path = f"{self.path}/{layout.CENTROIDS_FILE}"
        content += tables.write_tensors(storage, path, {"centroids": centroids})
        record = Record(shard, (0, 1), len(content), keys.digest(content), watch.seconds)
        return Folder(storage, self.path).record(record)


def with_added(
    centroids: NDArray[np.float32], cosines: NDArray[np.float32], probabilities: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(K + added, D) centroids (K, D) of clusters, then the place of each added class among them.

    That is the mean of the centroids that its patches are nearest to.

    Args:
        cosines: (n, K) of patches with the centroids.
        probabilities: (n, K + added) of their classes.
    """
    added = probabilities[:, len(centroids) :]
    return np.concatenate([centroids, unit(added.T @ centroids[cosines.argmax(axis=1)])])


def plan(
    workspace: Workspace,
    spec: SegmenterSpec,
    graph_key: str,
    patches: Sequence[TaughtPatch],
    names: Sequence[str],
) -> Stage | None:
    """Plan a taught model; None if it is there.

    Args:
        spec: the segmenter of the clusters that are taught.
        patches: the lessons.
        names: of all classes, the clusters first.

    Raises:
        InputError: there is no lesson.
    """
    if not patches:
        raise InputError("no lesson is left that could be learned")
    key = taught_key(spec, graph_key, patches, names[spec.classes :])
    folder = workspace.folder(layout.clusters(key))
    if folder.finished:
        return None
    base = workspace.folder(layout.clusters(spec.clusters_key)).manifest()
    work = TaughtWork(workspace, spec, graph_key, tuple(patches), len(names), folder.path)
    taught = {"lessons": len(patches), "clusters": spec.classes, "version": VERSION}
    carried = ("options", "backbone", "space", "imported")
    inputs = {"clusters": spec.clusters_key, "graph": graph_key}
    manifest = {
        "stage": "clusters",
        **{name: base[name] for name in carried if name in base},
        "inputs": {**base["inputs"], **inputs},
        "taught": taught,
        "names": list(names),
        "classes": len(names),
    }
    return Stage(folder, "taught clusters", "models", 1, 1, work, manifest)
