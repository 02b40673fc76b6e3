"""The segmenter of a taught model: the same backbone and head, classes as people taught them."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stego_core.images.upsampling import scores_at
from stego_core.masks.crf import Crf
from stego_core.masks.patch_codes import Windows
from stego_core.masks.segmenter import Scorer, Segmenter, refined
from stego_core.teaching.patch_graph import BLOCK, Projection
from stego_core.teaching.taught_classes import TaughtClasses, log_probabilities
from tasks.features import backbones
from tasks.head import heads
from tasks.masks import kept_features
from tasks.masks.segmenter import (
    SegmenterSpec,
    masks_key,
    predicted_memory,
    segmenter_spec,
    tokens_at_once,
)
from tasks.options import MasksOptions
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

Mask: TypeAlias = NDArray[np.bool_]
SCORER: Scorer = partial(scores_at, log_probabilities)
"""What is read is probabilities already."""


@dataclass(frozen=True)
class TaughtSegmenter:
    """Labels images with taught classes; as `Segmenter`.

    Attributes:
        reader: makes codes beside features.
    """

    reader: Segmenter
    taught: TaughtClasses

    def __call__(self, image: NDArray[np.uint8], valid: Mask | None = None) -> NDArray[np.uint8]:
        """Class ids (H, W) uint8 of an RGB image (H, W, 3) uint8, VOID_BYTE without data."""
        probabilities, crf, view = self.codes(image, valid), self.reader.crf, self.reader.view
        return refined(probabilities, image, SCORER, crf, view, valid).classes

    def codes(self, image: NDArray[np.uint8], valid: Mask | None = None) -> NDArray[np.float32]:
        """Class probabilities (h, w, K) float32 of an image at patch resolution."""
        beside = self.reader.codes(image, valid)
        return self.taught(beside[..., -len(self.taught.projection.mean) :])


@dataclass(frozen=True)
class TaughtSpec:
    """What a segmenter of taught classes is made of; small and picklable.

    Attributes:
        clusters_key: of the taught model.
        base: the segmenter of the clusters that were taught.
    """

    clusters_key: str
    base: SegmenterSpec

    baseline = False
    method = ""

    @property
    def storage(self) -> Storage:
        """Of the workspace."""
        return self.base.storage

    @property
    def options(self) -> MasksOptions:
        """How images are labelled."""
        return self.base.options

    @remembered(4)
    def taught(self) -> TaughtClasses:
        """The taught model."""
        return read_taught(self.storage, self.clusters_key)

    def names(self) -> list[str]:
        """What the classes were called when they were taught."""
        manifest = Folder(self.storage, layout.clusters(self.clusters_key)).manifest()
        return list(manifest["names"])

    @property
    def classes(self) -> int:
        """Clusters, and classes that people added."""
        return int(self.taught().probabilities.shape[1])

    def scorer(self) -> Scorer:
        """As the CRF begins with probabilities."""
        return SCORER

    def masks_path(self, dump: str) -> str:
        """Folder of a dump's masks."""
        return layout.masks(masks_key(self.clusters_key, self.options), dump)

    def document(self) -> dict[str, Any]:
        """What the masks are made with, for their manifest."""
        document = self.base.document()
        return {**document, "inputs": {**document["inputs"], "clusters": self.clusters_key}}

    def memory(self, pixels: int) -> int:
        """Bytes that a worker holds at once for an image of so many pixels."""
        taught, patch = self.taught(), self.base.backbone.patch
        nodes = taught.positions.nbytes + taught.probabilities.nbytes
        comparing = 8 * BLOCK * len(taught.positions)
        refining = predicted_memory(pixels, self.classes, self.options)
        tokens = tokens_at_once(self.options, patch)
        reading = backbones.backbone_memory(self.base.backbone, tokens, refining)
        return reading + nodes + comparing

    def build(self, device: str) -> TaughtSegmenter:
        """The segmenter; backbone and head are built once per process."""
        return TaughtSegmenter(beside_features(self.base).build(device), self.taught())

    def crf(self) -> Crf:
        """As of the clusters; probabilities are as sharp as they are."""
        return self.base.crf()

    def windows(self) -> Windows:
        """As of the clusters."""
        return self.base.windows()

    def kept_codes(self, dump: str, image_id: str) -> NDArray[np.float32] | None:
        """Class probabilities (h, w, K) from an image's kept features; None where none are kept."""
        if not self._keeps(dump):
            return None
        path = layout.image_feature(kept_features.features_key(self.base), dump, image_id)
        return self.taught()(kept_features.read(self.storage, path).features.astype(np.float32))

    @remembered(16)
    def _keeps(self, dump: str) -> bool:
        key = kept_features.features_key(self.base)
        return kept_features.dump_folder(self.storage, key, dump).finished


def beside_features(spec: SegmenterSpec) -> SegmenterSpec:
    """The same that makes codes beside features, whatever was clustered."""
    return replace(spec, space=heads.BESIDE)


def mask_source(
    workspace: Workspace, clusters_key: str, options: MasksOptions
) -> SegmenterSpec | TaughtSpec:
    """What makes the masks of a finished folder of clusters, taught or not."""
    base = segmenter_spec(workspace, clusters_key, options)
    return base if base.clusters_key == clusters_key else TaughtSpec(clusters_key, base)


def read_taught(storage: Storage, clusters_key: str) -> TaughtClasses:
    """The model in a folder of taught clusters."""
    tensors = tables.read_tensors(storage, f"{layout.clusters(clusters_key)}/{layout.TAUGHT_FILE}")
    projection = Projection(tensors["mean"], tensors["axes"])
    return TaughtClasses(projection, tensors["positions"], tensors["probabilities"])
