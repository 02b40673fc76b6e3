"""Nearest neighbours by cosine: ours by faiss, exact or by inverted lists, beside torch.topk.

    python benchmarks/neighbors.py [--search exact|approximate]

Rows are unit vectors around centres, centre + noise · Gaussian / √channels, and all are queries.
The reference compares a sixteenth of them with all rows at once and takes `torch.topk`. Ours makes
the lists and measures the recall where the search is approximate. It searches in shards like the
stage's, as many side by side as there are threads. The rows are in memory on both sides before the
clock starts; of the stage's own work the reading and writing of files is left out. `processor` is
what all threads of ours computed, which other work on the machine changes less than the clock.
"""

import argparse
import ctypes
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pairs
import torch
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.search import inverted_lists
from stego_core.search.neighbor_table import Neighbors
from tasks.neighbors import list_recall, neighbor_shard, stage
from tasks.neighbors import listed_rows as stage_lists

GOALS = {"exact": 1.5, "approximate": 10.0}
SEARCH, UNIT = "exact", "s"
ROW, GOAL = f"neighbors-{SEARCH}", GOALS[SEARCH]
WORK = "nearest rows by cosine of clustered rows, each of them a query"
PARTS = 16
"""Blocks of the reference."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--search", choices=GOALS, help="default: one after the other")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=0.7, help="its norm; centres have norm 1")
    parser.add_argument("--k", type=int, default=30, help="neighbours, the row itself included")
    parser.add_argument("--seed", type=int, default=0)


def inputs(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    generator = np.random.default_rng(chosen.seed)
    shape = chosen.clusters, chosen.channels
    centres = np.asarray(unit(generator.standard_normal(shape, np.float32)), np.float32)
    vectors = generator.standard_normal((chosen.rows, chosen.channels), np.float32)
    vectors *= chosen.noise / np.sqrt(chosen.channels)
    vectors += centres[generator.integers(0, chosen.clusters, chosen.rows)]
    np.save(folder / "rows.npy", np.asarray(unit(vectors), np.float32))
    names = ("rows", "channels", "clusters", "noise", "k", "seed")
    return {
        "file": str(folder / "rows.npy"),
        "search": SEARCH,
        **{name: getattr(chosen, name) for name in names},
    }


def ours(inputs: dict[str, Any]) -> pairs.Work:
    lean()
    vectors = np.load(inputs["file"])
    torch.set_num_threads(1)  # of each shard; there are as many side by side

    def work() -> pairs.Arrays:
        with ThreadPoolExecutor(inputs["threads"], initializer=one_faiss_thread) as pool:
            found = table(vectors, inputs["k"], inputs["search"], pool)
        torch.set_num_threads(inputs["threads"])
        return found

    return work


def lean() -> None:
    """Free memory goes back at once, as on Dask's workers: else a peak tells of the allocator."""
    ctypes.CDLL(None).mallopt(-1, 65_536)  # M_TRIM_THRESHOLD


def one_faiss_thread() -> None:
    faiss.omp_set_num_threads(1)  # it counts for the thread that calls it


def table(
    vectors: NDArray[np.float32], k: int, search: str, pool: ThreadPoolExecutor
) -> pairs.Arrays:
    """What the stage does, shard by shard."""
    begun, rows = time.process_time(), len(vectors)
    index = Index(vectors, pool) if search == "approximate" else None
    ids, similarities = np.empty((rows, k), np.int64), np.empty((rows, k), np.float32)

    def searched(part: slice) -> None:
        queries, found = vectors[part], Neighbors.create(part.stop - part.start, k)
        if index and index.probes:
            found = inverted_lists.search(
                found, queries, index.centroids, index.segments, index.probes
            )
        else:
            found = flat(found, queries, vectors)
        found = found.self_first(np.arange(part.start, part.stop))
        ids[part], similarities[part] = found.ids, found.similarities

    list(pool.map(searched, slices(rows, stage.shard_size(rows))))
    told = index.figures() if index else {}
    told["processor"] = round(time.process_time() - begun, 2)
    return {
        "ids": ids,
        "similarities": similarities,
        **{name: np.array(value) for name, value in told.items()},
    }


class Index:
    """The inverted lists of all rows, and how many of them are to be searched."""

    def __init__(self, vectors: NDArray[np.float32], pool: ThreadPoolExecutor) -> None:
        self.vectors, rows = vectors, len(vectors)
        generator = np.random.default_rng(stage_lists.SEED)
        count = inverted_lists.list_count(rows)
        size = min(inverted_lists.SAMPLE_PER_LIST * count, rows)
        sample = np.sort(generator.choice(rows, size, replace=False))
        self.centroids = inverted_lists.centroids(vectors[sample], count, stage_lists.SEED)
        parts = slices(rows, stage_lists.SEGMENT_BYTES // (4 * vectors.shape[1]))
        indexes = pool.map(
            lambda part: inverted_lists.segment([vectors[part]], self.centroids), parts
        )
        ids = [np.arange(part.start, part.stop) for part in parts]
        self.parts = list(zip(indexes, ids, strict=True))
        self.probes, self.recall = self._measured()

    def segments(self) -> list[tuple[faiss.IndexIVFFlat, NDArray[np.int64]]]:
        return self.parts

    def figures(self) -> dict[str, Any]:
        return {"lists": len(self.centroids), "probes": self.probes or 0, "recall": self.recall}

    def _measured(self) -> tuple[int | None, float]:
        """Lists to search, and the recall that a sample shows for them."""
        generator = np.random.default_rng(list_recall.SEED)
        own = np.sort(generator.choice(len(self.vectors), list_recall.SAMPLE, replace=False))
        queries = self.vectors[own]
        exact = flat(Neighbors.create(len(own), list_recall.RANKS + 1), queries, self.vectors)
        true = exact.self_first(own).ids[:, 1:]
        most = max(len(self.centroids) // list_recall.MOST_SHARE, 1)
        order = inverted_lists.nearest_lists(queries, self.centroids, most)
        numbers = inverted_lists.nearest_lists(self.vectors[true.ravel()], self.centroids)
        return inverted_lists.fewest_probes(
            order, numbers.reshape(true.shape), list_recall.SAMPLE_RECALL
        )


def flat(table: Neighbors, queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> Neighbors:
    for part in slices(len(vectors), neighbor_shard.BLOCK_ROWS):
        table = table.with_rows(queries, vectors[part], np.arange(part.start, part.stop))
    return table


def slices(rows: int, size: int) -> list[slice]:
    return [slice(*edges) for edges in pairwise([*range(0, rows, size), rows])]


def reference(inputs: dict[str, Any]) -> pairs.Work:
    lean()
    vectors = torch.from_numpy(np.load(inputs["file"]))
    rows, k = inputs["rows"], inputs["k"]

    def work() -> pairs.Arrays:
        begun = time.process_time()
        similarities, ids = torch.empty((rows, k)), torch.empty((rows, k), dtype=torch.int64)
        for part in slices(rows, -(-rows // PARTS)):
            similarities[part], ids[part] = (vectors[part] @ vectors.T).topk(k)
        processor = np.array(round(time.process_time() - begun, 2))
        found = {"ids": ids.numpy(), "similarities": similarities.numpy()}
        return {**found, "processor_reference": processor}

    return work


TOLD: dict[str, Any] = {}
"""What a comparison leaves for the file."""


def equal(inputs: dict[str, Any], ours: pairs.Arrays, reference: pairs.Arrays) -> str:
    TOLD.clear()
    both = [*ours.items(), *reference.items()]
    TOLD.update({name: value.item() for name, value in both if value.ndim == 0})
    if inputs["search"] == "approximate":
        ranks = list_recall.RANKS
        hits = [
            len(np.intersect1d(a[1 : ranks + 1], b[1 : ranks + 1], assume_unique=True))
            for a, b in zip(ours["ids"], reference["ids"], strict=True)
        ]
        share = sum(hits) / (ranks * len(hits))
        return f"recall@{ranks} against the reference, the row itself left out: {share:.5f}"
    gap = np.abs(ours["similarities"] - reference["similarities"])
    other = ours["ids"] != reference["ids"]
    tied = gap[other].max(initial=0)
    return (
        f"ids: {100 * (1 - other.mean()):.5f} % equal, {other.sum()} differ, all of them between "
        f"similarities at most {tied:.1e} apart; largest difference of similarities {gap.max():.1e}"
    )


def more(inputs: dict[str, Any]) -> dict[str, Any]:
    return TOLD


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--search", choices=GOALS)
    one = parser.parse_known_args()[0].search
    for SEARCH in [one] if one else GOALS:
        ROW, GOAL = f"neighbors-{SEARCH}", GOALS[SEARCH]
        pairs.main(sys.modules["__main__"])
