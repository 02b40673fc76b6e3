"""How many inverted lists an approximate table must search, measured on a sample of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.search import inverted_lists
from stego_core.search.neighbor_table import Neighbors
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.features.rows import FeatureRows
from tasks.log import Log
from tasks.neighbors import neighbor_shard
from tasks.neighbors.listed_rows import ListedRows, sampled
from tasks.workspace import keys
from tasks.workspace.ledger import Folder, Record

log = Log(__name__)

SAMPLE = 1024
"""Rows by which the recall is measured."""
RANKS = 7
"""First neighbours that are to be found: those that training draws from."""
RECALL = 0.98
"""Least share of them that a table must find."""
SAMPLE_RECALL = 0.985
"""Share that the sample must show for that."""
MOST_SHARE = 8
"""Of this many lists at most one is searched: with more, an exact search is no slower."""
SEED = 1
"""Draws the sample."""


@dataclass(frozen=True)
class RecallWork:
    """Finds the fewest lists that hold enough of the sample's true neighbours: the only shard.

    Attributes:
        listed: the rows to search.
        queries: rows of the one dump whose recall is measured.
        folder: of the outcome.
        sample: queries by which it is measured.
    """

    listed: ListedRows
    queries: FeatureRows
    folder: Folder
    sample: int

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """The number of lists to search; None if an eighth of them is too few."""
        watch, centroids = Stopwatch(), self.listed.centroids()
        own = sampled(self.queries, self.sample, np.random.default_rng(SEED))
        with watch("read"):
            vectors = self.queries.read("pooled", own)
        neighbors = self._exact(own, vectors, watch)
        full = (neighbors >= 0).all(axis=1)
        with watch("read"):
            rows = self.listed.rows.read("pooled", neighbors[full].ravel())
        most = max(len(centroids) // MOST_SHARE, 1)
        order = inverted_lists.nearest_lists(vectors[full], centroids, most)
        numbers = inverted_lists.nearest_lists(rows, centroids).reshape(-1, RANKS)
        probes, recall = inverted_lists.fewest_probes(order, numbers, SAMPLE_RECALL)
        results = {"probes": probes, "recall": recall}
        checksum = keys.digest(keys.canonical(results))
        record = Record(shard, (0, len(own)), 0, checksum, watch.seconds, results=results)
        self.folder.record(record)
        return record

    def _exact(
        self, own: NDArray[np.int64], vectors: NDArray[np.float32], watch: Stopwatch
    ) -> NDArray[np.int64]:
        """(n, RANKS) the nearest of the listed rows, the rows themselves left out."""
        rows, (dump,) = self.listed.rows, self.queries.dumps
        table = Neighbors.create(len(own), RANKS + 1)
        spans = rows.row_blocks(neighbor_shard.BLOCK_ROWS)
        for ids, block in watch.each("read", rows.valid_blocks("pooled", spans)):
            with watch("infer"):
                table = table.add(vectors, block, ids)
        if dump not in rows.dumps:
            return table.ids[:, :RANKS]
        return table.self_first(rows.renumbered(own, self.queries)).ids[:, 1:]


def folder(listed: ListedRows, dump: str) -> Folder:
    """Where it lies how many lists to search for a dump's rows."""
    return listed.folder(f"recall/{dump}")


def plan(listed: ListedRows, rows: FeatureRows, dump: str) -> Stage | None:
    """How many lists to search for a dump's rows; None if it is known."""
    place, queries = folder(listed, dump), replace(rows, dumps=(dump,))
    if place.finished:
        return None
    count = min(SAMPLE, int(queries.valid().sum()))
    channels = listed.rows.channels()
    memory = neighbor_shard.search_memory(
        channels, (1 + RANKS) * count, RANKS + 1, listed.rows.total
    )
    work = RecallWork(listed, queries, place, count)
    return Stage(place, f"recall {dump}", "samples", count, 1, work, {"stage": "recall"}, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Note how many lists to search; say so where the search will be exact."""
    (record,) = stage.folder.records(stage.shards)
    if record.results["probes"] is None:
        log.warning(
            "too few neighbours in few lists, searching exactly",
            stage=stage.title,
            wanted=RECALL,
            found=record.results["recall"],
        )
    sizes = {"ranks": RANKS, "sample": stage.items}
    return stage.finish(seconds, computed, **record.results, **sizes)
