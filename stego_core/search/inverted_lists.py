"""Approximate nearest neighbours by cosine: faiss's inverted lists (IVF), one segment at a time.

Rows that do not fit in memory are cut into segments, each of which is an index of its own with the
same centroids. A search compares a query with the rows of its nearest lists in every segment.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import faiss
import numpy as np
import torch

from stego_core.search.neighbor_table import NOBODY, Neighbors, Rows, Vectors

PER_ROOT = 3
"""Lists, as a multiple of the square root of the rows."""
MOST_LISTS = 4096
"""Lists at most; bounds the sample that centroids are made from."""
SAMPLE_PER_LIST = 24
"""Vectors per list on which centroids are trained: more gain no recall."""
ITERATIONS = 4
"""Of k-means on the sample: ten give the same recall."""
BLOCK = 512
"""Vectors compared with all centroids at once; bounds memory."""

Segments = Callable[[], Iterable[tuple[Any, Rows]]]
"""Reads all segments from the first one on: each an index of faiss, and the global rows (n,) that
it holds."""


def list_count(rows: int) -> int:
    """The number of inverted lists of an index of this many rows."""
    return min(max(round(PER_ROOT * math.sqrt(rows)), 1), MOST_LISTS)


def centroids(sample: Vectors, lists: int, seed: int) -> Vectors:
    """(L, C) float32 of norm 1, by spherical k-means on a sample (n, C) of the rows, of norm 1.

    There are at most as many as vectors in the sample.
    """
    count, channels = min(lists, len(sample)), sample.shape[1]
    means = faiss.Kmeans(
        channels,
        count,
        niter=ITERATIONS,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=-(-len(sample) // count),
    )
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # how faiss rounds products depends on their number
    try:
        means.train(sample)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.asarray(means.centroids, np.float32)


def segment(blocks: Iterable[Vectors], centroids: Vectors) -> faiss.IndexIVFFlat:
    """An index of the rows of some blocks (n, C), numbered from 0."""
    lists, channels = centroids.shape
    quantizer = faiss.IndexFlatIP(channels)
    quantizer.add(centroids)
    index = faiss.IndexIVFFlat(quantizer, channels, lists, faiss.METRIC_INNER_PRODUCT)
    for block in blocks:
        rows, numbers = np.ascontiguousarray(block), nearest_lists(block, centroids)
        # Not `add`: faiss may take another one of two lists that are equally near.
        index.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(numbers))
    index.make_direct_map()  # where each row lies, to get its vector back
    return index


def nearest_lists(vectors: Vectors, centroids: Vectors, count: int = 1) -> Rows:
    """(n, count) numbers of the lists whose centroids resemble each vector most, best first."""
    columns, most = torch.from_numpy(centroids).T, min(count, len(centroids))
    numbers = [
        (torch.from_numpy(vectors[first : first + BLOCK]) @ columns).topk(most).indices.numpy()
        for first in range(0, len(vectors), BLOCK)
    ]
    return np.concatenate([np.empty((0, most), np.int64), *numbers])


def search(
    table: Neighbors, queries: Vectors, centroids: Vectors, segments: Segments, probes: int
) -> Neighbors:
    """The table over the rows of the lists, `probes` of them, nearest to each query.

    A query that gets fewer than k rows is compared with twice as many lists, and so on: the
    segments are read again.

    Args:
        table: over other rows, of the same queries.
        queries: (n, C) float32 of norm 1.
        centroids: (L, C) float32.
    """
    probes = min(probes, len(centroids))
    lists, k, result = nearest_lists(queries, centroids, probes), table.ids.shape[1], table
    for index, ids in segments():
        index.nprobe = probes
        cosines, positions = index.search_preassigned(queries, k, lists, None)
        candidates = np.where(cosines > result.floor()[:, None], positions, NOBODY)
        result = result.with_candidates(queries, candidates, index.reconstruct_batch, ids)
    few = (result.ids == NOBODY).any(axis=1)
    if few.any() and probes < len(centroids):
        part = search(table.at(few), queries[few], centroids, segments, 2 * probes)
        result.ids[few], result.similarities[few] = part.ids, part.similarities
    return result


def fewest_probes(order: Rows, lists: Rows, recall: float) -> tuple[int | None, float]:
    """The fewest lists that reach a recall, None if even all are too few; and their recall.

    A search of p lists finds a neighbour if its list is among the p nearest to the query.

    Args:
        order: (n, p) each query's nearest lists, best first.
        lists: (n, r) the lists that hold each query's true neighbours.
        recall: share of these that must be found.
    """
    hits = (order[:, None, :] == lists[:, :, None]).sum(axis=(0, 1))
    reached = hits.cumsum() / max(lists.size, 1)
    enough = np.flatnonzero(reached >= recall)
    probes = int(enough[0]) + 1 if len(enough) else None
    return probes, round(float(reached[(probes or 0) - 1]), 5)
