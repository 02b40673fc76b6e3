"""Nearest patches by cosine: inverted lists and product quantisation of faiss.

A patch x of norm 1 is kept in the list of the centroid c that it resembles most, as a code of the
residual, x − c ≈ r̂: M bytes, each of which names one of 256 centres of a part of the channels
(Jégou, Douze and Schmid 2011, with unit vectors and inner products). A search reads the codes of
the lists nearest to the query; the caller compares its results with the patches themselves.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from stego_core.errors import CapacityError

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]
Codes = NDArray[np.uint8]

CODE_BYTES = 48
"""Bytes of a code at most."""
ID_BYTES = 8
"""Bytes of a patch's number, which lies beside its code."""
CENTRES = 256
"""Centres of each part of the channels: as many as a byte can name."""
SAMPLE_PER_CENTRE = 64
"""Residuals per centre on which the centres are trained; four times as many gain nothing."""
SAMPLE_PER_LIST = 24
"""Patches per list on which the centroids are trained."""
NO_LIST = -1
"""List of a patch that is not searched."""
ITERATIONS = 10
"""Of k-means, for centroids and for centres."""
LEAST_LISTS = 16
"""Lists of an index of few patches."""
MOST_LISTS = 1024
"""Lists at most: each new patch is compared with all of their centroids."""


def list_count(patches: int) -> int:
    """The number of inverted lists of an index of this many patches."""
    return int(np.clip(round(np.sqrt(patches)), LEAST_LISTS, MOST_LISTS))


def sample_size(lists: int) -> int:
    """Patches on which an index of this many lists is trained."""
    return max(SAMPLE_PER_LIST * lists, SAMPLE_PER_CENTRE * CENTRES)


def code_bytes(channels: int) -> int:
    """Bytes of a code: the greatest divisor of the channels that is at most `CODE_BYTES`."""
    return max(m for m in range(1, CODE_BYTES + 1) if channels % m == 0)


def train(sample: Vectors, lists: int, seed: int) -> faiss.IndexIVFPQ:
    """An empty index, trained on a sample (n, C) float32 of norm 1; the seed is of both k-means.

    It has at most as many lists as the sample has vectors.

    Raises:
        CapacityError: there is no patch in the sample.
    """
    if not len(sample):
        raise CapacityError("there are no patches to search; no image could be read")
    channels = sample.shape[1]
    quantizer, width = faiss.IndexFlatIP(channels), code_bytes(channels)
    shape = channels, min(lists, len(sample)), width, 8
    index = faiss.IndexIVFPQ(quantizer, *shape, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    for clustering in (index.cp, index.pq.cp):
        clustering.niter, clustering.seed = ITERATIONS, seed
        clustering.min_points_per_centroid = 1  # it would print a warning
    index.pq.cp.max_points_per_centroid = SAMPLE_PER_CENTRE
    index.train(np.resize(sample, (max(len(sample), CENTRES), channels)))
    return index


def list_numbers(index: faiss.IndexIVFPQ, codes: Codes) -> Numbers:
    """(n,) lists of codes (n, `sa_code_size`), which begin with them, the lowest byte first."""
    digits = codes[:, : index.sa_code_size() - index.code_size].astype(np.int64)
    return np.asarray(digits @ 256 ** np.arange(digits.shape[1]))


def reserve(index: faiss.IndexIVFPQ, lists: Numbers) -> None:
    """Allocate memory for patches in lists (n,): lists that grow would take up to twice as much."""
    sizes = np.bincount(lists, minlength=index.nlist)
    stored: Any = index.invlists  # faiss's own types say that it may be None
    inverted = faiss.downcast_InvertedLists(stored)
    for number, size in zip(range(index.nlist), sizes.tolist(), strict=False):
        inverted.resize(number, size)
        inverted.resize(number, 0)


def nearest(
    index: faiss.IndexIVFPQ, query: Vectors, lists: int, count: int, without: range = range(0)
) -> tuple[Numbers, Vectors]:
    """The patches in the lists nearest to a query whose approximate cosines are greatest.

    Args:
        index: filled.
        query: (C,) float32 of norm 1.
        lists: how many are scanned.
        without: numbers of patches that are left out.

    Returns:
        (n,) int64 numbers of at most `count` patches and (n,) float32 cosines, which fall.
    """
    parameters = faiss.SearchParametersIVF()
    parameters.nprobe = lists
    left_out = faiss.IDSelectorRange(without.start, without.stop)
    parameters.sel = faiss.IDSelectorNot(left_out)
    limit = max(min(count, index.ntotal), 1)
    (cosines,), (numbers,) = index.search(query[None], limit, params=parameters)
    return numbers[numbers >= 0], cosines[numbers >= 0]


def first_of_each(groups: Numbers) -> Numbers:
    """Where each group comes first among (n,) groups, in rising order."""
    return np.sort(np.unique(groups, return_index=True)[1])


def compared(query: Vectors, patches: NDArray[np.floating]) -> Vectors:
    """Exact cosines (n, m) float32 of a query (C,) of norm 1 with patches (n, m, C)."""
    values = patches.astype(np.float32)
    norms = np.sqrt(np.einsum("nmc,nmc->nm", values, values))
    return np.asarray(values @ query / np.maximum(norms, np.finfo(np.float32).tiny))
