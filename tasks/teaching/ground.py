"""What lessons are spread along while people teach: read once for each state of a workspace."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import InputError, WorkspaceError
from stego_core.teaching import propagation
from stego_core.teaching.patch_graph import Near
from stego_core.teaching.propagation import Propagation, cluster_prior
from stego_core.teaching.taught_classes import near_nodes
from tasks.corpus.index import IndexReader
from tasks.masks import kept_features
from tasks.masks.segmenter import SegmenterSpec, segmenter_spec
from tasks.options import MasksOptions
from tasks.storage.run_cache import remembered
from tasks.teaching import graph, lessons
from tasks.teaching.graph import StoredGraph
from tasks.teaching.lesson_patches import TaughtPatch, lesson_features
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

Ids = NDArray[np.uint8]
UNPREPARED = "the images are not prepared for teaching yet; `stego explore` does so in Teach mode"


@dataclass(frozen=True)
class Ground:
    """The graph of sampled patches of one state of a workspace.

    Attributes:
        spec: the segmenter of the clusters that are taught.
        key: of the graph.
        dumps: that its patches are of, in the order that its places count them.
    """

    workspace: Workspace
    spec: SegmenterSpec
    key: str
    dumps: tuple[str, ...]

    @property
    def features_key(self) -> str:
        """Key of the kept features."""
        return kept_features.features_key(self.spec)

    def stored(self) -> StoredGraph:
        """The graph itself."""
        return _stored(self.workspace, self.key)

    def propagation(self, classes: int) -> Propagation:
        """What spreads lessons of so many classes, the clusters first."""
        smoothing = _smoothing(self.workspace, self.key)
        if classes == smoothing.prior.shape[1]:
            return smoothing
        return replace(smoothing, prior=cluster_prior(self.stored().cosines, classes))

    def positions(self, patches: Sequence[TaughtPatch]) -> NDArray[np.float32]:
        """(m, D) of lessons in the graph's space."""
        # The class is no matter here: the same point may be taught another one.
        plain = (patch._replace(cls=0) for patch in patches)
        return np.stack([_position(self, patch) for patch in plain])

    def image(self, dump: str, row: int) -> "SeenImage":
        """An image as the graph sees it; InputError where its features are not kept."""
        return _image(self, dump, row)


class SeenImage(NamedTuple):
    """The patches of an image.

    Attributes:
        height, width: in patches.
        near: nodes that each patch resembles, rows in reading order.
        clusters: (h·w,) int64 cluster of each patch.
    """

    height: int
    width: int
    near: Near
    clusters: NDArray[np.int64]

    def ids(self, probabilities: NDArray[np.float32] | None) -> Ids:
        """Class ids (h, w) by the probabilities (n, K) of the nodes; None: the clusters."""
        found = self.clusters
        if probabilities is not None:
            found = propagation.read_off(self.near, probabilities).argmax(axis=1)
        return found.reshape(self.height, self.width).astype(np.uint8)


def spec_of(workspace: Workspace) -> SegmenterSpec:
    """The segmenter of the clusters that people teach; WorkspaceError if there are none."""
    current = workspace.last_run()
    options = MasksOptions(**current["options"].get("masks", {}))
    return segmenter_spec(workspace, current["keys"]["clusters"], options)


def sampled_dumps(workspace: Workspace) -> list[str]:
    """Dumps that patches are sampled from, as `stego teach` does."""
    taught = {lesson.dump for lesson in lessons.in_force(workspace.storage)}
    return graph.sampled_dumps(workspace, taught)


def is_prepared(workspace: Workspace, dumps: Sequence[str] = ()) -> bool:
    """Whether the graph is there, and what the images of these dumps are read as."""
    spec, storage = spec_of(workspace), workspace.storage
    key = graph.graph_key(workspace, sampled_dumps(workspace), spec)
    features = kept_features.features_key(spec)
    folders = (kept_features.dump_folder(storage, features, dump) for dump in dumps)
    return workspace.folder(layout.patch_graph(key)).finished and all(f.finished for f in folders)


def ground_of(workspace: Workspace, dumps: Sequence[str]) -> Ground:
    """The ground that patches of some dumps make.

    Raises:
        WorkspaceError: it is not prepared yet.
    """
    spec = spec_of(workspace)
    key = graph.graph_key(workspace, dumps, spec)
    if not workspace.folder(layout.patch_graph(key)).finished:
        raise WorkspaceError(UNPREPARED)
    return Ground(workspace, spec, key, tuple(dumps))


@remembered(2)
def _stored(workspace: Workspace, key: str) -> StoredGraph:
    return graph.read_graph(workspace.storage, key)


@remembered(2)
def _smoothing(workspace: Workspace, key: str) -> Propagation:
    stored = _stored(workspace, key)
    return stored.propagation(stored.cosines.shape[1])


@remembered(10_000)
def _position(ground: Ground, patch: TaughtPatch) -> NDArray[np.float32]:
    (features,) = lesson_features(ground.workspace, ground.spec, [patch])
    return ground.stored().projection(features)


@remembered(24)
def _image(ground: Ground, dump: str, row: int) -> SeenImage:
    entry = IndexReader(ground.workspace, dump).entry(row)
    path = layout.image_feature(ground.features_key, dump, entry["image_id"])
    try:
        kept = kept_features.read(ground.workspace.storage, path)
    except FileNotFoundError:
        raise InputError(
            f"image {entry['path']} of dump {dump} is not prepared for teaching, or cannot be read"
        ) from None
    height, width = kept.features.shape[:2]
    stored, features = ground.stored(), kept.features.astype(np.float32)
    near = near_nodes(features, stored.projection, stored.graph.positions)
    clusters = kept.cosines.reshape(height * width, -1).argmax(axis=1)
    return SeenImage(height, width, near, clusters)
