"""Nearest neighbours by cosine: ours through inverted lists, beside blocks of all similarities.

    python benchmarks/neighbors.py [--search exact|approximate]

Rows are unit vectors around centres, centre + noise · Gaussian / √channels, and all are queries.
The reference compares a sixteenth of them with all rows at once and takes `torch.topk`. Ours makes
the lists, measures the recall where the search is approximate, and searches, in shards like those
of the stage, as many side by side as there are threads. The rows are in memory on both sides before
the clock starts; of the stage's own work the reading and writing of files is left out.

The prediction for 10 million rows takes the time per product of two vectors from the run: those of
the lists' making, of each query with all centroids (twice for the exact search, which bounds every
list) and with the rows of the lists it is compared with. It holds if as large a share of the lists
is ruled out there. Its memory is what the stage predicts for a worker.
"""

import argparse
import ctypes
import sys
import threading
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

from stego_core import lists, listsearch
from stego_core.kmeans import unit
from stego_core.listsearch import Span
from stego_core.neighbors import Neighbors
from tasks import lists as stage_lists
from tasks import neighbors as stage
from tasks import recall

GOALS = {"exact": 2.0, "approximate": 10.0}
SEARCH, UNIT = "exact", "s"
ROW, GOAL = f"neighbors-{SEARCH}", GOALS[SEARCH]
WORK = "nearest rows by cosine of clustered rows, each of them a query"
PARTS = 16
"""Blocks of the reference."""
LARGE = 10_000_000


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
            found = by_list(vectors, inputs["k"], inputs["search"], pool)
        torch.set_num_threads(inputs["threads"])
        return found

    return work


def lean() -> None:
    """Free memory goes back at once, as on Dask's workers: else a peak tells of the allocator."""
    ctypes.CDLL(None).mallopt(-1, 65_536)  # M_TRIM_THRESHOLD


def one_faiss_thread() -> None:
    faiss.omp_set_num_threads(1)  # it counts for the thread that calls it


def by_list(
    vectors: NDArray[np.float32], k: int, search: str, pool: ThreadPoolExecutor
) -> pairs.Arrays:
    """What the stage does, shard by shard."""
    rows, generator = len(vectors), np.random.default_rng(stage_lists.SEED)
    begun, pure = time.perf_counter(), search == "exact"
    count = lists.list_count(rows, pure)
    size = min(lists.SAMPLE_PER_LIST * count, rows)
    drawn = np.sort(generator.choice(rows, size, replace=False))
    centroids = lists.centroids(vectors[drawn], count, pure, generator)
    members = lists.Members.create(len(centroids) if pure else 0)
    lock = threading.Lock()

    def listed(part: slice) -> NDArray[np.int64]:
        nonlocal members
        if search == "approximate":
            return lists.nearest_lists(vectors[part], centroids)[:, 0]
        found = lists.Members.create(len(centroids))
        numbers = found.add(vectors[part], centroids)
        with lock:
            members = members.merge(found)
        return numbers

    parts = slices(rows, max(stage_lists.SHARD_ROWS, -(-rows // stage_lists.SHARDS)))
    numbers = np.concatenate(list(pool.map(listed, parts)))
    span = Span.create(vectors, np.arange(rows), numbers, len(centroids))
    counts = np.bincount(numbers, minlength=len(centroids))
    told: dict[str, Any] = {"lists": len(centroids)}
    bounds, probes = lists.Bounds.create(centroids, members) if pure else None, None
    if not pure:
        probes, told["recall"] = chosen_probes(vectors, centroids, numbers, pool)
        told["probes"] = probes or 0
    ids, similarities = np.empty((rows, k), np.int64), np.empty((rows, k), np.float32)

    def searched(part: slice) -> None:
        queries, table = vectors[part], Neighbors.create(part.stop - part.start, k)
        if bounds:
            table = listsearch.exact(table, queries, bounds, lambda: [span])
        elif probes:
            table = listsearch.approximate(
                table, queries, centroids, counts, probes, lambda: [span]
            )
        else:
            table = flat(table, queries, vectors)
        table = table.self_first(np.arange(part.start, part.stop))
        ids[part], similarities[part] = table.ids, table.similarities

    list(pool.map(searched, slices(rows, stage.listed_shard_rows(rows))))
    told["seconds"] = time.perf_counter() - begun
    return {
        "ids": ids,
        "similarities": similarities,
        **{name: np.array(value) for name, value in told.items()},
    }


def chosen_probes(
    vectors: NDArray[np.float32],
    centroids: NDArray[np.float32],
    numbers: NDArray[np.int64],
    pool: ThreadPoolExecutor,
) -> tuple[int | None, float]:
    """Lists to search, and the recall that a sample shows for them."""
    generator = np.random.default_rng(recall.SEED)
    sample = np.sort(generator.choice(len(vectors), recall.SAMPLE, replace=False))

    def places(own: NDArray[np.int64]) -> NDArray[np.int64]:
        table = flat(Neighbors.create(len(own), recall.RANKS + 1), vectors[own], vectors)
        return lists.places(vectors[own], centroids, numbers[table.self_first(own).ids[:, 1:]])

    parts = np.array_split(sample, -(-len(sample) // recall.SHARD_ROWS))
    found = np.concatenate(list(pool.map(places, parts)))
    return recall.fewest(recall.found_in(found, len(centroids)), found.size)


def flat(table: Neighbors, queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> Neighbors:
    for part in slices(len(vectors), stage_lists.BLOCK_ROWS):
        table = table.add(queries, vectors[part], np.arange(part.start, part.stop))
    return table


def slices(rows: int, size: int) -> list[slice]:
    return [slice(*edges) for edges in pairwise([*range(0, rows, size), rows])]


def reference(inputs: dict[str, Any]) -> pairs.Work:
    lean()
    vectors = torch.from_numpy(np.load(inputs["file"]))
    rows, k = inputs["rows"], inputs["k"]

    def work() -> pairs.Arrays:
        similarities, ids = torch.empty((rows, k)), torch.empty((rows, k), dtype=torch.int64)
        for part in slices(rows, -(-rows // PARTS)):
            similarities[part], ids[part] = (vectors[part] @ vectors.T).topk(k)
        return {"ids": ids.numpy(), "similarities": similarities.numpy()}

    return work


TOLD: dict[str, Any] = {}
"""What a comparison leaves for the file."""


def equal(inputs: dict[str, Any], ours: pairs.Arrays, reference: pairs.Arrays) -> str:
    TOLD.clear()
    TOLD.update({name: value.item() for name, value in ours.items() if value.ndim == 0})
    if inputs["search"] == "approximate":
        ranks = recall.RANKS
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


def products(rows: int, count: int, sample: int, search: str, probes: int) -> float:
    """Products of two vectors: making lists, comparing with centroids, and with rows."""
    made = (1 + lists.ITERATIONS) * sample * count + rows * count
    if search == "exact":
        return float(made + rows * (2 * count + listsearch.NEAR * rows / count))
    measured = recall.SAMPLE * rows
    return float(made + measured + rows * (count + probes * rows / count))


def predicted(inputs: dict[str, Any]) -> dict[str, Any]:
    """Seconds and bytes for many rows, from the last run."""
    now, search, probes = inputs["rows"], inputs["search"], TOLD.get("probes") or 0
    sizes = []
    for rows, count in ((now, TOLD["lists"]), (LARGE, lists.list_count(LARGE, search == "exact"))):
        sample = min(lists.SAMPLE_PER_LIST * lists.list_count(rows, search == "exact"), rows)
        sizes.append(products(rows, count, sample, search, probes))
    per_query = 8 * inputs["channels"] + 36 * (inputs["k"] + listsearch.SPARE)
    held = stage_lists.search_memory(
        LARGE, inputs["channels"], lists.list_count(LARGE, search == "exact"), search == "exact"
    )
    return {
        "rows": LARGE,
        "seconds": round(TOLD["seconds"] * sizes[1] / sizes[0]),
        "bytes_per_worker": held + per_query * stage.listed_shard_rows(LARGE),
        "formula": "seconds × products(10 million) / products(rows), see the script",
    }


def more(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**TOLD, "predicted": predicted(inputs)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--search", choices=GOALS)
    one = parser.parse_known_args()[0].search
    for SEARCH in [one] if one else GOALS:
        ROW, GOAL = f"neighbors-{SEARCH}", GOALS[SEARCH]
        pairs.main(sys.modules["__main__"])
