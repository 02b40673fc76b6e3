"""Features of whole images, kept as masks read them, so that a lesson costs no backbone again."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.clustering.silhouette import FEATURES
from tasks.head import heads
from tasks.masks.segmenter import SegmenterSpec
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder

VERSION = 3
"""Raised whenever the same options would give other features."""
READING = ("resolution", "views", "tile", "tile_overlap")
"""Options of the masks that decide what is read of an image."""


class KeptFeatures(NamedTuple):
    """What one image is read as, at patch resolution.

    Attributes:
        features: (h, w, C) float16 of norm 1, the mean of both views.
        cosines: (h, w, K) float16 with the centroids of the clusters.
    """

    features: NDArray[np.float16]
    cosines: NDArray[np.float16]


def features_key(spec: SegmenterSpec) -> str:
    """Key of the kept features of clusters, read with these options."""
    reading = spec.options.model_dump(mode="json", include=set(READING))
    return keys.key("image_features", VERSION, None, {"clusters": spec.clusters_key, **reading})


def dump_folder(storage: Storage, key: str, dump: str) -> Folder:
    """Where a dump's features lie."""
    return Folder(storage, layout.image_features(key, dump))


def of_beside(beside: NDArray[np.float32], spec: SegmenterSpec, code_size: int) -> KeptFeatures:
    """Kept features from codes beside features (h, w, D + C), the codes of depth D."""
    codes, features = beside[..., :code_size], beside[..., code_size:]
    vectors = {heads.BESIDE: beside, FEATURES: features}.get(spec.space, codes)
    cosines = unit(vectors) @ spec.centroids().T
    return KeptFeatures(unit(features).astype(np.float16), cosines.astype(np.float16))


def encoded(kept: KeptFeatures) -> bytes:
    """A file that holds them."""
    return tables.encode_tensors(kept._asdict())


def read(storage: Storage, path: str) -> KeptFeatures:
    """An image's features; FileNotFoundError where there are none, DamageError if unreadable."""
    return KeptFeatures(**tables.read_tensors(storage, path))
