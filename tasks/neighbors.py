"""Stage neighbors: for each feature row of a dump, the most similar rows of all given dumps."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import CapacityError, DamageError, WorkspaceError
from stego_core.neighbors import NOBODY, Neighbors
from tasks.options import NeighborsOptions
from tasks.prefetch import ahead
from tasks.rows import FeatureRows
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import arrays, keys
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record

logger = logging.getLogger(__name__)

T = TypeVar("T")
Rows: TypeAlias = NDArray[np.int64]
Vectors: TypeAlias = NDArray[np.float32]

VERSION = 1
SHARD_ROWS = 2048
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
    """Compares one shard of queries with every block of rows that the base has not seen."""

    rows: FeatureRows
    path: str
    first_row: int
    queries: int
    k: int
    base: Base | None = None

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """The table of one shard; invalid rows have no neighbours and are nobody's."""
        watch = Stopwatch()
        first, last = shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, self.queries)
        own = self.first_row + np.arange(first, last, dtype=np.int64)
        with watch("read"):
            queries, valid = self.rows.read("pooled", own), self.rows.read("valid", own)
            queries = queries[valid]
            table, missing = self._begun(queries, own[valid], np.arange(first, last)[valid])
        compared = 0
        for ids, block in _timed(watch, self._blocks(missing)):
            with watch("infer"):
                table = table.add(queries, block, ids)
            compared += len(ids)
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


def _timed(watch: Stopwatch, blocks: Iterator[T]) -> Iterator[T]:
    """The blocks; the time that they are waited for counts as reading."""
    while True:
        with watch("read"):
            block = next(blocks, None)
        if block is None:
            return
        yield block


def neighbors_key(rows: FeatureRows, options: NeighborsOptions) -> str:
    """Key of the table among these rows."""
    return keys.key("neighbors", VERSION, options, rows.inputs())


def base_of(rows: FeatureRows, dump: str, options: NeighborsOptions) -> Base | None:
    """The finished table to begin a dump's table with: the one among most of these rows.

    Its dumps must come in the same order, because equal similarities are ordered by row. Its key
    tells that it was made from the same features with the same options; of equal ones the first
    key is taken. Tables that are damaged or unfinished are passed over.
    """
    found: list[Base] = []
    for key in rows.workspace.storage.names("neighbors"):
        folder = rows.workspace.folder("neighbors", key, f"{dump}.zarr")
        try:
            dumps = tuple(str(name) for name, _ in folder.manifest()["inputs"]["dumps"])
        except (WorkspaceError, LookupError, TypeError, ValueError):
            continue
        ours = iter(rows.dumps)
        in_order = all(name in ours for name in dumps)  # each is looked for after the one before
        part = replace(rows, dumps=dumps)
        if in_order and dump in dumps != rows.dumps and neighbors_key(part, options) == key:
            found.append(Base(part, folder.path))
    return max(found, key=lambda base: base.rows.total, default=None)


def plan(
    rows: FeatureRows, dump: str, options: NeighborsOptions, reuse: bool = True
) -> Stage | None:
    """Create a dump's table; None if it is complete.

    The table's bytes do not depend on `reuse`.

    Args:
        rows: of all the dumps to search.
        dump: one of them.
        options: of the table.
        reuse: begin with the table of the same dump among fewer dumps, where there is one.

    Raises:
        CapacityError: there are fewer images than k.
    """
    workspace = rows.workspace
    images = sum(rows.manifest(name)["images"] for name in rows.dumps)
    usable = images - sum(len(rows.manifest(name)["invalid"]) for name in rows.dumps)
    if usable < options.k:
        raise CapacityError(
            f"{usable} usable images are fewer than the {options.k} neighbours to store; give more "
            f"images or a smaller --neighbors"
        )
    number = rows.dumps.index(dump)
    count = rows.counts()[number]
    folder = workspace.folder("neighbors", neighbors_key(rows, options), f"{dump}.zarr")
    folder.plan({"index": rows.manifest(dump)["index"], "dump": dump})
    if folder.finished:
        return None
    layouts = {
        "ids": Layout((count, options.k), "int64", SHARD_ROWS, SHARD_ROWS),
        "similarities": Layout((count, options.k), "float32", SHARD_ROWS, SHARD_ROWS),
    }
    arrays.create(workspace.storage, folder.path, layouts)
    first_row = int(rows.offsets()[number])
    base = base_of(rows, dump, options) if reuse else None
    work = NeighborsWork(rows, folder.path, first_row, count, options.k, base)
    manifest = {
        "stage": "neighbors",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": rows.inputs(),
        "dump": dump,
        "nobody": NOBODY,
        "base": base.path.split("/")[1] if base else None,
        "compared": rows.total - (base.rows.total if base else 0),
    }
    shards = arrays.shard_count(count, SHARD_ROWS)
    return Stage(folder, f"neighbors {dump}", "crops", count, shards, work, manifest)
