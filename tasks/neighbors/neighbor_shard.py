"""Shards of a table of neighbours: queries compared with all rows, or with their nearest lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import DamageError
from stego_core.search import inverted_lists
from stego_core.search.neighbor_table import Neighbors
from tasks.engine import machine
from tasks.engine.stage import Stopwatch
from tasks.engine.steps import Step
from tasks.features.rows import FeatureRows
from tasks.log import Log
from tasks.neighbors.listed_rows import ListedRows
from tasks.workspace import arrays
from tasks.workspace.ledger import Folder, Record

log = Log(__name__)

Rows: TypeAlias = NDArray[np.int64]
Vectors: TypeAlias = NDArray[np.float32]

BLOCK_ROWS = 65_536
"""Rows that queries are compared with at once; bounds memory."""


@dataclass(frozen=True)
class Base:
    """A finished table, the Zarr group at `path`, of the same dump among fewer of the rows."""

    rows: FeatureRows
    path: str


@dataclass(frozen=True)
class NeighborsWork:
    """Compares one shard of queries with the rows that the base has not seen.

    Attributes:
        rows: of all the dumps to search.
        path: the table's Zarr group.
        first_row, queries: first global row of the queries' dump, and how many it has.
        size: queries of a shard.
        base: the table to begin with.
        listed: the rows that the base has not seen, by list; None compares with all rows.
        probes: how many lists a query is compared with.
    """

    rows: FeatureRows
    path: str
    first_row: int
    queries: int
    k: int
    size: int
    device: str
    base: Base | None = None
    listed: ListedRows | None = None
    probes: int = 0

    def steps(self) -> Sequence[Step]:
        """One step; a GPU compares with all rows where there is one."""
        return [Step(self.shard, gpu=self.listed is None)]

    def shard(self, shard: int) -> Record:
        """The table of one shard; invalid rows have no neighbours and are nobody's."""
        watch = Stopwatch()
        span = arrays.shard_span(shard, self.size, self.queries)
        local_rows = np.arange(*span, dtype=np.int64)
        rows = self.first_row + local_rows
        with watch("read"):
            valid = self.rows.read("valid", rows)
            queries = self.rows.read("pooled", rows)[valid]
            table, missing = self._start(queries, rows[valid], local_rows[valid])
        if self.listed and self.listed.rows.dumps == missing:
            table, compared = self._add_lists(self.listed, table, queries, watch)
        else:
            table, compared = self._add_dumps(missing, table, queries, watch)
        table = table.self_first(rows[valid])
        whole = Neighbors.create(len(rows), self.k)
        whole.ids[valid], whole.similarities[valid] = table.ids, table.similarities
        storage = self.rows.storage
        with watch("write"):
            size, checksum = arrays.write_shard(storage, self.path, "ids", shard, whole.ids)
            arrays.write_shard(storage, self.path, "similarities", shard, whole.similarities)
        results = {"compared": compared}
        record = Record(shard, span, size, checksum, watch.seconds, results=results)
        return Folder(storage, self.path).record(record)

    def _add_dumps(
        self, dumps: Sequence[str], table: Neighbors, queries: Vectors, watch: Stopwatch
    ) -> tuple[Neighbors, int]:
        """The table with all rows of some dumps, and how many they are."""
        device, compared = machine.device(self.device), 0
        blocks = self.rows.row_blocks(BLOCK_ROWS, dumps)
        for ids, block in watch.each("read", self.rows.valid_blocks("pooled", blocks)):
            with watch("infer"):
                table = table.with_rows(queries, block, ids, device)
            compared += len(ids)
        return table, compared

    def _add_lists(
        self, listed: ListedRows, table: Neighbors, queries: Vectors, watch: Stopwatch
    ) -> tuple[Neighbors, int]:
        """The table with the rows of each query's nearest lists, and how many all lists hold."""
        segments = partial(listed.segments, self.rows)
        with watch("infer"):
            table = inverted_lists.search(table, queries, listed.centroids(), segments, self.probes)
        return table, int(listed.rows.valid().sum())

    def _start(
        self, queries: Vectors, rows: Rows, local_rows: Rows
    ) -> tuple[Neighbors, tuple[str, ...]]:
        """The table of valid rows as far as the base knows it, and the dumps that it lacks.

        A base that cannot be read, or that is not about these rows, is not used.
        """
        empty, base, storage = Neighbors.create(len(rows), self.k), self.base, self.rows.storage
        if not len(rows):
            return empty, ()
        if base is None:
            return empty, self.rows.dumps
        try:
            ids = arrays.read_rows(storage, base.path, "ids", local_rows)
            similarities = arrays.read_rows(storage, base.path, "similarities", local_rows)
            table = Neighbors(self.rows.renumbered(ids, base.rows), similarities)
            if not table.is_of(queries, rows):
                raise ValueError("rank 0 does not hold the rows themselves")
        except (DamageError, FileNotFoundError, IndexError, ValueError) as error:
            log.warning("a table cannot be begun with another", base=base.path, cause=error)
            return empty, self.rows.dumps
        return table, tuple(dump for dump in self.rows.dumps if dump not in base.rows.dumps)


def search_memory(channels: int, queries: int, k: int, rows: int) -> int:
    """Bytes that a worker holds while it compares queries with so many rows, predicted."""
    # A block that is compared and one that is read, once more while its dumps are put together;
    # queries, twice while they are read; four tables of 12 bytes: before, new, merged, its order.
    block = min(rows, BLOCK_ROWS)
    return 4 * channels * (3 * block + 2 * queries) + 96 * k * queries
