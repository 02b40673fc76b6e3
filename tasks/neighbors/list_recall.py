"""How many inverted lists an approximate table must search, measured on a sample of its rows."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.search import inverted_lists
from stego_core.search.neighbor_table import Neighbors
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.features.rows import FeatureRows
from tasks.log import Log
from tasks.neighbors import neighbor_shard
from tasks.neighbors.listed_rows import ListedRows, sample_rows
from tasks.workspace import keys
from tasks.workspace.ledger import Folder, Record

log = Log(__name__)

SAMPLE = 1024
"""Rows that the recall is measured on."""
RANKS = 7
"""The first neighbours of a row, whose recall counts: training samples from them."""
RECALL = 0.98
"""The least share of them that a table must find."""
SAMPLE_RECALL = 0.985
"""The share that must be found for the sample, so that a whole table reaches `RECALL`."""
MOST_SHARE = 8
"""At most one in so many lists is searched: with more, an exact search is no slower."""
SEED = 1
"""Seed of the sample."""


@dataclass(frozen=True)
class ListRecallWork(CpuWork):
    """Finds the fewest lists that hold enough of the true neighbours of `sample` queries.

    The queries are rows of one dump; `listed` are the rows to search. There is one shard.
    """

    listed: ListedRows
    queries: FeatureRows
    folder: Folder
    sample: int

    def shard(self, shard: int) -> Record:
        """The number of lists to search; None if an eighth of them is too few."""
        watch, centroids = Stopwatch(), self.listed.centroids()
        sample = sample_rows(self.queries, self.sample, np.random.default_rng(SEED))
        with watch("read"):
            vectors = self.queries.read("pooled", sample)
        neighbors = self._exact_neighbors(sample, vectors, watch)
        full = (neighbors >= 0).all(axis=1)
        with watch("read"):
            neighbor_vectors = self.listed.rows.read("pooled", neighbors[full].ravel())
        most = max(len(centroids) // MOST_SHARE, 1)
        nearest_lists = inverted_lists.nearest_lists(vectors[full], centroids, most)
        true_lists = inverted_lists.nearest_lists(neighbor_vectors, centroids).reshape(-1, RANKS)
        probes, recall = inverted_lists.fewest_probes(nearest_lists, true_lists, SAMPLE_RECALL)
        results = {"probes": probes, "recall": recall}
        checksum = keys.digest(keys.canonical(results))
        record = Record(shard, (0, len(sample)), 0, checksum, watch.seconds, results=results)
        return self.folder.record(record)

    def _exact_neighbors(
        self, sample: NDArray[np.int64], vectors: NDArray[np.float32], watch: Stopwatch
    ) -> NDArray[np.int64]:
        """(n, RANKS) the nearest of the listed rows, the rows themselves left out."""
        rows, (dump,) = self.listed.rows, self.queries.dumps
        table = Neighbors.create(len(sample), RANKS + 1)
        blocks = rows.row_blocks(neighbor_shard.BLOCK_ROWS)
        for ids, block in watch.each("read", rows.valid_blocks("pooled", blocks)):
            with watch("infer"):
                table = table.with_rows(vectors, block, ids)
        if dump not in rows.dumps:
            return table.ids[:, :RANKS]
        return table.self_first(rows.renumbered(sample, self.queries)).ids[:, 1:]


def recall_folder(listed: ListedRows, dump: str) -> Folder:
    """The folder of the number of lists to search for a dump's rows."""
    return listed.folder(f"recall/{dump}")


def plan(listed: ListedRows, rows: FeatureRows, dump: str) -> Stage | None:
    """Plan to measure how many lists to search for a dump's rows; None if it is known."""
    folder, queries = recall_folder(listed, dump), replace(rows, dumps=(dump,))
    if folder.finished:
        return None
    count = min(SAMPLE, int(queries.valid().sum()))
    channels, vectors = listed.rows.channels(), (1 + RANKS) * count
    memory = neighbor_shard.search_memory(channels, vectors, RANKS + 1, listed.rows.total)
    work = ListRecallWork(listed, queries, folder, count)
    return Stage(folder, f"recall {dump}", "samples", count, 1, work, {"stage": "recall"}, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Write the manifest with the number of lists; warn where the search will be exact."""
    (record,) = stage.records()
    if record.results["probes"] is None:
        log.warning(
            "too few neighbours in few lists, searching exactly",
            stage=stage.title,
            required=RECALL,
            recall=record.results["recall"],
        )
    return stage.finish(seconds, computed, **record.results, ranks=RANKS, sample=stage.items)
