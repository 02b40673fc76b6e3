"""Stage patch graph: sampled patches of all images, and what each of them resembles."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.teaching.patch_graph import Near, PatchGraph, Projection
from stego_core.teaching.propagation import Propagation, cluster_prior
from tasks.corpus.index import IndexReader
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.masks import kept_features
from tasks.masks.kept_features import KeptFeatures
from tasks.masks.segmenter import SegmenterSpec
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
"""Raised whenever the same features would give another graph."""
NODES = 12_000
"""Patches that are sampled, at most."""
IMAGES = 2_000
"""Images that they are sampled from, at most, spread evenly over all of them."""
SEED = 0


class Place(NamedTuple):
    """Where a node lies.

    Attributes:
        dump: number among the graph's dumps.
        row: of the image in the dump's index.
        top, left: of the patch, in patches.
        height, width: of the image, in patches.
    """

    dump: int
    row: int
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class StoredGraph:
    """A finished graph.

    Attributes:
        cosines: (n, K) float32 of the nodes with the centroids of the clusters.
        places: (n, 6) int64, a `Place` of each node.
    """

    projection: Projection
    graph: PatchGraph
    cosines: NDArray[np.float32]
    places: NDArray[np.int64]

    def propagation(self, classes: int) -> Propagation:
        """What spreads lessons of so many classes along it; the clusters are the first of them."""
        return Propagation.of(self.graph, cluster_prior(self.cosines, classes))


@dataclass(frozen=True)
class GraphWork(CpuWork):
    """Samples patches of the kept features of some dumps and joins them: the only shard."""

    workspace: Workspace
    dumps: tuple[str, ...]
    spec: SegmenterSpec
    path: str

    def shard(self, shard: int) -> Record:
        """Write the graph, then the record."""
        watch, storage = Stopwatch(), self.workspace.storage
        with watch("read"):
            features, cosines, places = self._sampled()
        with watch("infer"):
            projection = Projection.of(features)
            graph = PatchGraph.of(projection(features))
        content = tables.write_tensors(
            storage,
            f"{self.path}/{layout.GRAPH_FILE}",
            {
                "mean": projection.mean,
                "axes": projection.axes,
                "positions": graph.positions,
                "nodes": graph.near.nodes,
                "weights": graph.near.weights,
                "cosines": cosines,
                "places": places,
            },
        )
        results = {"nodes": len(places), "dumps": list(self.dumps)}
        size, checksum = len(content), keys.digest(content)
        record = Record(shard, (0, 1), size, checksum, watch.seconds, results=results)
        return Folder(storage, self.path).record(record)

    def _sampled(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Features (n, C), cosines (n, K) and places (n, 6) of the nodes."""
        rows = sampled_rows([self._images(dump) for dump in self.dumps], IMAGES)
        each = -(-NODES // max(len(rows), 1))
        features, cosines, places = [], [], []
        for number, row, kept in self._kept(rows):
            height, width = kept.features.shape[:2]
            draw = np.random.default_rng([SEED, number, row])
            patches = np.sort(draw.permutation(height * width)[:each])
            features.append(kept.features.reshape(height * width, -1)[patches])
            cosines.append(kept.cosines.reshape(height * width, -1)[patches])
            top, left = np.divmod(patches, width)
            whole = np.full_like(patches, 1)[:, None] * [number, row, height, width]
            places.append(np.column_stack([whole[:, :2], top, left, whole[:, 2:]]))
        all_places = np.concatenate(places)
        kept_nodes = np.sort(np.random.default_rng(SEED).permutation(len(all_places))[:NODES])
        return (
            np.concatenate(features)[kept_nodes].astype(np.float32),
            np.concatenate(cosines)[kept_nodes].astype(np.float32),
            all_places[kept_nodes],
        )

    def _images(self, dump: str) -> int:
        return int(self.workspace.corpus(dump).manifest()["images"])

    def _kept(self, rows: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, KeptFeatures]]:
        """The kept features of those images that can be read, with their dump's number and row."""
        key = kept_features.features_key(self.spec)
        for number, dump in enumerate(self.dumps):
            own = np.array([row for other, row in rows if other == number], np.int64)
            invalid = kept_features.dump_folder(self.workspace.storage, key, dump).manifest()[
                "invalid"
            ]
            readable = own[[str(row) not in invalid for row in own.tolist()]]
            entries = IndexReader(self.workspace, dump).entries(readable, ["image_id"])
            for row, entry in zip(readable.tolist(), entries, strict=True):
                path = layout.image_feature(key, dump, entry["image_id"])
                yield number, row, kept_features.read(self.workspace.storage, path)


def sampled_rows(images: Sequence[int], most: int) -> list[tuple[int, int]]:
    """At most so many (dump, row) of dumps with so many images, spread evenly over all."""
    total = sum(images)
    numbers = np.unique(np.linspace(0, total - 1, min(total, most)).round().astype(np.int64))
    ends = np.cumsum(images)
    dumps = np.searchsorted(ends, numbers, side="right")
    rows = numbers - (ends - images)[dumps]
    return list(zip(dumps.tolist(), rows.tolist(), strict=True))


def sampled_dumps(workspace: Workspace, taught: Set[str]) -> list[str]:
    """Dumps that patches are sampled from: those that are trained on, and those that lessons are
    of; others join at their retraining.
    """
    dumps = workspace.dumps()
    wanted = {*(workspace.last_run()["dumps"] or dumps), *taught}
    return [dump for dump in dumps if dump in wanted]


def graph_key(workspace: Workspace, dumps: Sequence[str], spec: SegmenterSpec) -> str:
    """Key of the graph of some dumps."""
    inputs = {
        "features": kept_features.features_key(spec),
        "dumps": [[dump, workspace.corpus(dump).manifest()["index"]] for dump in dumps],
    }
    return keys.key("patch_graph", VERSION, None, inputs)


def plan(workspace: Workspace, dumps: Sequence[str], spec: SegmenterSpec) -> Stage | None:
    """Plan the graph of dumps whose features are kept; None if it is there."""
    key = graph_key(workspace, dumps, spec)
    folder = workspace.folder(layout.patch_graph(key))
    if folder.finished:
        return None
    work = GraphWork(workspace, tuple(dumps), spec, folder.path)
    features = kept_features.features_key(spec)
    manifest = {
        "stage": "patch_graph",
        "version": VERSION,
        "inputs": {"features": features, "clusters": spec.clusters_key},
    }
    memory = 24 * NODES * spec.backbone.channels  # in float16, float32 and float64, and centred
    return Stage(folder, "patch graph", "graphs", 1, 1, work, manifest, memory)


def read_graph(storage: Storage, key: str) -> StoredGraph:
    """A finished graph."""
    tensors = tables.read_tensors(storage, f"{layout.patch_graph(key)}/{layout.GRAPH_FILE}")
    return StoredGraph(
        Projection(tensors["mean"], tensors["axes"]),
        PatchGraph(tensors["positions"], Near(tensors["nodes"], tensors["weights"])),
        tensors["cosines"],
        tensors["places"],
    )
