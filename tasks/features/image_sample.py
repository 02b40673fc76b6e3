"""Which images are kept for training: a sample by the hash of the id, stable as dumps arrive."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.index import IndexReader
from tasks.workspace.workspace import Workspace


def id_hashes(dump: str, ids: list[str]) -> NDArray[np.uint64]:
    """A uniform 64-bit number for each image id; the same on every machine."""
    digests = [hashlib.blake2b(f"{dump}/{i}".encode(), digest_size=8).digest() for i in ids]
    return np.array([int.from_bytes(digest) for digest in digests], np.uint64)


def sampled_rows(workspace: Workspace, dump: str, most: int) -> NDArray[np.int64]:
    """Rows of a dump that are among the `most` lowest hashes of it and all dumps before it.

    A dump never changes the sample of those before it, and the sample grows ever slower: the j-th
    of equal dumps adds about most / j images.

    Returns:
        (n,) int64 sorted rows.
    """
    arrived = workspace.arrived()
    order = list(arrived)
    before = order[: order.index(dump)]
    counts = [arrived[name]["images"] for name in [*before, dump]]
    if sum(counts) <= most:
        return np.arange(counts[-1], dtype=np.int64)
    lowest = np.empty(0, np.uint64)
    for name in before:
        for ids in IndexReader(workspace, name).column("image_id"):
            lowest = np.sort(np.concatenate([lowest, id_hashes(name, ids)]))[:most]
    parts = [id_hashes(dump, ids) for ids in IndexReader(workspace, dump).column("image_id")]
    hashes = np.concatenate(parts)
    limit = np.sort(np.concatenate([lowest, hashes]))[most - 1]
    return np.flatnonzero(hashes <= limit).astype(np.int64)
