"""How many inverted lists an approximate table must search, measured on a sample of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core import lists
from stego_core.neighbors import Neighbors
from tasks.lists import BLOCK_ROWS, ListedRows, drawn
from tasks.log import Log
from tasks.rows import FeatureRows
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import keys
from tasks.workspace.arrays import shard_count
from tasks.workspace.ledger import Folder, Record

log = Log(__name__)

SAMPLE, SHARD_ROWS = 1024, 512
"""Rows by which the recall is measured, and how many of them a shard has: of fewer queries faiss
makes no matrix product."""
RANKS, RECALL, AIM = 7, 0.98, 0.985
"""Ranks that training draws from, their least recall, and what a sample must show to be sure."""
MOST_SHARE = 8
"""Of so many lists at most one is searched; the exact search is no slower then."""
SEED = 1


@dataclass(frozen=True)
class RecallWork:
    """Exact neighbours of one part of the sample, and where their lists come for it.

    A search of p lists finds a neighbour if its list is among the p nearest to the query, so one
    sample tells the recall for every p.

    Attributes:
        listed: the rows to search.
        queries: those of the one dump whose recall is measured.
        path: of the outcome.
        sample: rows drawn from that dump.
        shards: parts that these are cut into.
    """

    listed: ListedRows
    queries: FeatureRows
    path: str
    sample: int
    shards: int

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """How many of the neighbours are found in 1, 2, … lists."""
        watch = Stopwatch()
        parts = np.array_split(sampled(self.queries, self.sample), self.shards)
        own, first = parts[shard], sum(len(part) for part in parts[:shard])
        with watch("read"):
            vectors = self.queries.read("pooled", own)
        neighbors = self._exact(own, vectors, watch)
        there = (neighbors >= 0).all(axis=1)
        numbers = self.listed.numbers(neighbors[there].ravel()).astype(np.int64)
        centroids = self.listed.centroids()
        places = lists.places(vectors[there], centroids, numbers.reshape(-1, RANKS))
        found = found_in(places, len(centroids))
        results = {"sought": places.size, "found": found.tolist()}
        checksum = keys.digest(keys.canonical(results))
        record = Record(
            shard, (first, first + len(own)), 0, checksum, watch.seconds, results=results
        )
        Folder(self.listed.storage, self.path).record(record)
        return record

    def _exact(
        self, own: NDArray[np.int64], vectors: NDArray[np.float32], watch: Stopwatch
    ) -> NDArray[np.int64]:
        """(n, RANKS) the nearest of the listed rows, the rows themselves left out."""
        rows, (dump,) = self.listed.rows, self.queries.dumps
        table = Neighbors.create(len(own), RANKS + 1)
        for ids, block in watch.each("read", self.listed.blocks(0, rows.total)):
            with watch("infer"):
                table = table.add(vectors, block, ids)
        if dump not in rows.dumps:
            return table.ids[:, :RANKS]
        return table.self_first(rows.renumbered(own, self.queries)).ids[:, 1:]


def sampled(queries: FeatureRows, count: int) -> NDArray[np.int64]:
    """The rows that the recall is measured on."""
    return drawn(queries, count, np.random.default_rng(SEED))


def found_in(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many neighbours a search of 1, 2, … lists finds, from the places of theirs of `count`."""
    most = max(count // MOST_SHARE, 1)
    return np.bincount(places.ravel(), minlength=most + 1).cumsum()[1 : most + 1]


def fewest(found: NDArray[np.int64], sought: int) -> tuple[int | None, float]:
    """The fewest lists that reach the recall, and what they reach; None where none of them do."""
    curve = found / max(sought, 1)
    enough = np.flatnonzero(curve >= AIM)
    place = int(enough[0]) if len(enough) else -1
    return (place + 1 or None), round(float(curve[place]), 5)


def folder(listed: ListedRows, dump: str) -> Folder:
    """Where it lies how many lists to search for a dump's rows."""
    return Folder(listed.storage, f"{listed.path}/recall/{dump}")


def plan(listed: ListedRows, rows: FeatureRows, dump: str) -> Stage | None:
    """How many lists to search for a dump's rows; None if it is known."""
    place, queries = folder(listed, dump), replace(rows, dumps=(dump,))
    if place.finished:
        return None
    count = len(sampled(queries, SAMPLE))
    # Queries, blocks as read and as kept, and faiss's products of a part of them.
    blocks = 3 * 4 * listed.channels() * BLOCK_ROWS
    shards = shard_count(count, SHARD_ROWS)
    work = RecallWork(listed, queries, place.path, count, shards)
    title = f"recall {dump}"
    return Stage(place, title, "samples", count, shards, work, {"stage": "recall"}, blocks)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Choose the fewest lists that reach the recall; None if too many would be needed."""
    parts = [record.results for record in stage.folder.records(stage.shards)]
    found = np.sum([part["found"] for part in parts], axis=0, dtype=np.int64)
    probes, reached = fewest(np.atleast_1d(found), sum(part["sought"] for part in parts))
    if probes is None:
        log.warning(
            "too few neighbours in few lists, searching exactly",
            stage=stage.title,
            wanted=RECALL,
            found=reached,
        )
    recall = reached if probes else 1.0
    count = {"ranks": RANKS, "sample": stage.items}
    return stage.finish(seconds, computed, probes=probes, recall=recall, **count)
