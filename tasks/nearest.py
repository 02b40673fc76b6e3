"""Shards of a table of neighbours: queries compared with rows block by block, or list by list."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stego_core import listsearch
from stego_core.errors import DamageError
from stego_core.neighbors import Neighbors
from tasks.lists import ListedRows
from tasks.prefetch import ahead
from tasks.rows import FeatureRows
from tasks.stage import Stopwatch
from tasks.steps import Step
from tasks.workspace import arrays
from tasks.workspace.ledger import Folder, Record

logger = logging.getLogger(__name__)

Rows: TypeAlias = NDArray[np.int64]
Vectors: TypeAlias = NDArray[np.float32]

BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class Base:
    """A finished table of the same dump among some of the same dumps, in the same order.

    Attributes:
        rows: among which it was made.
        path: its Zarr group.
    """

    rows: FeatureRows
    path: str


@dataclass(frozen=True)
class NeighborsWork:
    """Compares one shard of queries with the rows that the base has not seen.

    Attributes:
        rows: of all the dumps to search.
        path: the table's Zarr group.
        first_row: first global row of the queries' dump.
        queries: rows of that dump.
        k: neighbours of each.
        size: queries of a shard.
        base: the table to begin with.
        listed: the rows that the base has not seen, by list; None compares block by block.
        probes: lists that a query is compared with; None makes the exact table.
    """

    rows: FeatureRows
    path: str
    first_row: int
    queries: int
    k: int
    size: int
    base: Base | None = None
    listed: ListedRows | None = None
    probes: int | None = None

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """The table of one shard; invalid rows have no neighbours and are nobody's."""
        watch = Stopwatch()
        first, last = shard * self.size, min((shard + 1) * self.size, self.queries)
        own = self.first_row + np.arange(first, last, dtype=np.int64)
        with watch("read"):
            queries, valid = self.rows.read("pooled", own), self.rows.read("valid", own)
            queries = queries[valid]
            table, missing = self._begun(queries, own[valid], np.arange(first, last)[valid])
        if self.listed and self.listed.rows.dumps == missing:
            table, compared = self._searched(self.listed, table, queries, watch)
        else:
            table, compared = self._compared(missing, table, queries, watch)
        table = table.self_first(own[valid])
        everyone = Neighbors.create(len(own), self.k)
        everyone.ids[valid], everyone.similarities[valid] = table.ids, table.similarities
        storage = self.rows.workspace.storage
        with watch("write"):
            size, checksum = arrays.write_shard(storage, self.path, "ids", shard, everyone.ids)
            arrays.write_shard(storage, self.path, "similarities", shard, everyone.similarities)
        record = Record(
            shard, (first, last), size, checksum, watch.seconds, results={"compared": compared}
        )
        Folder(storage, self.path).record(record)
        return record

    def _compared(
        self, dumps: Sequence[str], table: Neighbors, queries: Vectors, watch: Stopwatch
    ) -> tuple[Neighbors, int]:
        """The table with the rows of some dumps, block by block, and how many they are."""
        compared = 0
        for ids, block in watch.each("read", self._blocks(dumps)):
            with watch("infer"):
                table = table.add(queries, block, ids)
            compared += len(ids)
        return table, compared

    def _searched(
        self, listed: ListedRows, table: Neighbors, queries: Vectors, watch: Stopwatch
    ) -> tuple[Neighbors, int]:
        """The same by list; spans are read where the search comes to them."""

        def spans() -> Iterator[listsearch.Span]:
            return listed.spans(self.rows)

        centroids, counts, probes = listed.centroids(), listed.counts(), self.probes
        with watch("infer"):
            if probes is None:
                table = listsearch.exact(table, queries, listed.bounds(), spans)
            else:
                table = listsearch.approximate(table, queries, centroids, counts, probes, spans)
        return table, int(counts.sum())

    def _blocks(self, dumps: Sequence[str]) -> Iterator[tuple[Rows, Vectors]]:
        """The valid rows of some dumps, each block read while the one before it is compared."""

        def fetch(ids: Rows) -> tuple[Rows, Vectors]:
            there = self.rows.read("valid", ids)
            return ids[there], self.rows.read("pooled", ids)[there]

        spans = self.rows.spans(BLOCK_ROWS, dumps)
        return (found for _, found in ahead(spans, fetch, depth=1))

    def _begun(
        self, queries: Vectors, own: Rows, places: Rows
    ) -> tuple[Neighbors, tuple[str, ...]]:
        """The table of valid rows as far as the base knows it, and the dumps that it lacks.

        A base that cannot be read, or that is not about these rows, is as good as none.
        """
        nothing = Neighbors.create(len(own), self.k), self.rows.dumps
        if not len(own):
            return nothing[0], ()
        if self.base is None:
            return nothing
        storage, base = self.rows.workspace.storage, self.base
        try:
            ids, similarities = (
                arrays.read_rows(storage, base.path, name, places)
                for name in ("ids", "similarities")
            )
            table = Neighbors(self.rows.renumbered(ids, base.rows), similarities)
            if not table.is_of(queries, own):
                raise ValueError("rank 0 does not hold the rows themselves")
        except (DamageError, FileNotFoundError, IndexError, ValueError) as error:
            logger.warning("%s is not used for %s: %s", base.path, self.path, error)
            return nothing
        return table, tuple(dump for dump in self.rows.dumps if dump not in base.rows.dumps)
