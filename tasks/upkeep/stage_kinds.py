"""What lies in each kind of stage's folder, and how its data are compared with their checksums."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tasks.storage.storage import Storage
from tasks.upkeep import image_proofs, proofs
from tasks.upkeep.proofs import Prove
from tasks.workspace import layout


class Kind(NamedTuple):
    """A kind of folder that a stage finishes.

    Attributes:
        stage: the command that makes it, or what it is called in a sentence.
        pattern: of its path.
        prove: compares data with a record; None where there is none, or one for the whole dump.
        inner: whether folders of other kinds lie in it.
    """

    stage: str
    pattern: str
    prove: Prove | None = None
    inner: bool = False


KEY = "[0-9a-f]{16}"
CODES = proofs.of_arrays("codes", "features", "objects")
PATCHES = proofs.of_arrays("codes", "lists", "best", "best_crops")
PICIE = proofs.of_files(layout.WEIGHTS_FILE, layout.CENTROIDS_FILE)
KINDS = (
    Kind("features", rf"features/{KEY}/.+\.zarr", proofs.of_arrays("patches", "pooled", "valid")),
    Kind("neighbors", rf"neighbors/{KEY}/.+\.zarr", proofs.of_arrays("ids", "similarities")),
    Kind("neighbors", rf"neighbors/{KEY}/lists/centroids", proofs.of_files(layout.CENTROIDS_FILE)),
    Kind("neighbors", rf"neighbors/{KEY}/lists/segments", proofs.of_files("{:03d}.faiss")),
    Kind("neighbors", rf"neighbors/{KEY}/lists/recall/.+", proofs.of_results),
    Kind("head", rf"heads/{KEY}", proofs.of_files(layout.HEAD_FILE)),
    Kind("clusters", rf"clusters/{KEY}", proofs.of_clusters, inner=True),
    Kind("codes", rf"clusters/{KEY}/codes\.zarr", CODES),
    Kind("restarts", rf"clusters/{KEY}/restarts", proofs.of_files("{:03d}.safetensors")),
    Kind("image features", rf"image_features/{KEY}/[^/]+", image_proofs.of_image_features),
    Kind("patch graph", rf"patch_graphs/{KEY}", proofs.of_files(layout.GRAPH_FILE)),
    Kind("masks", rf"masks/{KEY}/[^/]+", image_proofs.of_masks),
    Kind("scores", rf"scores/probes/{KEY}", proofs.of_files(layout.PROBE_FILE)),
    Kind("scores", rf"scores/{KEY}/[^/]+", proofs.of_results),
    Kind("drift", rf"drift/(training/{KEY}|{KEY}/[^/]+)"),
    Kind("patches", rf"patches/{KEY}/codebook", proofs.of_codebook),
    Kind("patches", rf"patches/{KEY}/.+\.zarr", PATCHES),
    Kind("patches", rf"patches/{KEY}/recall/.+", proofs.of_curve),
    Kind("picie", rf"picie/{KEY}", PICIE),
    Kind("pretrain", rf"pretrain/{KEY}", proofs.of_files(layout.WEIGHTS_FILE)),
    Kind("backbones", rf"backbones/{KEY}{KEY}"),
    Kind("corpus", r"corpus/[^/]+"),
    Kind("frames", r"frames/[^/]+", image_proofs.of_frames),
    Kind("prepare", r"prepared/[^/]+", image_proofs.of_squares),
)
ORDER = (
    layout.PREPARED,
    layout.FRAMES,
    layout.CORPUS,
    layout.BACKBONES,
    layout.PRETRAIN,
    layout.FEATURES,
    layout.NEIGHBORS,
    layout.PICIE,
    layout.HEADS,
    layout.CLUSTERS,
    layout.IMAGE_FEATURES,
    layout.PATCH_GRAPHS,
    layout.MASKS,
    layout.SCORES,
    layout.DRIFT,
    layout.PATCHES,
)
"""Folders of stages; overlays and margins are compared with the masks."""
DEEPEST = 5
"""Parts of the longest path of a folder, neighbors/KEY/lists/recall/DUMP."""


def kind_of(path: str) -> Kind | None:
    """The kind of a folder; None of one that no stage finishes as a whole."""
    return next((kind for kind in KINDS if re.fullmatch(kind.pattern, path)), None)


def stage_folders(storage: Storage) -> Iterator[tuple[str, Kind]]:
    """Every folder of some kind, inputs before what is made from them."""
    for top in ORDER:
        yield from _below(storage, top)


def _below(storage: Storage, path: str) -> Iterator[tuple[str, Kind]]:
    kind = kind_of(path)
    if kind:
        yield path, kind
    if (kind is None or kind.inner) and path.count("/") + 1 < DEEPEST:
        for name in storage.folders(path):
            yield from _below(storage, f"{path}/{name}")
