"""Stage neighbors: for each feature row of a dump, the most similar rows of all given dumps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stego_core.errors import CapacityError
from stego_core.neighbors import NOBODY, Neighbors
from tasks.compute import Step
from tasks.options import NeighborsOptions
from tasks.rows import FeatureRows
from tasks.stage import Stage, Stopwatch
from tasks.workspace import arrays, keys
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record

VERSION = 1
SHARD_ROWS = 2048
BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class NeighborsWork:
    """Compares one shard of queries with every block of rows."""

    rows: FeatureRows
    path: str
    first_row: int
    queries: int
    k: int

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
        table = Neighbors.create(int(valid.sum()), self.k)
        for ids, block in self.rows.blocks("pooled", BLOCK_ROWS):
            with watch("read"):
                there = self.rows.read("valid", ids)
            with watch("infer"):
                table = table.add(queries[valid], block[there], ids[there])
        table = table.self_first(own[valid])
        everyone = Neighbors.create(len(own), self.k)
        everyone.ids[valid], everyone.similarities[valid] = table.ids, table.similarities
        storage = self.rows.workspace.storage
        with watch("write"):
            size, checksum = arrays.write_shard(storage, self.path, "ids", shard, everyone.ids)
            arrays.write_shard(storage, self.path, "similarities", shard, everyone.similarities)
        record = Record(shard, (first, last), size, checksum, watch.seconds)
        Folder(storage, self.path).record(record)
        return record


def neighbors_key(rows: FeatureRows, options: NeighborsOptions) -> str:
    """Key of the table among these rows."""
    return keys.key("neighbors", VERSION, options, rows.inputs())


def plan(rows: FeatureRows, dump: str, options: NeighborsOptions) -> Stage | None:
    """Create a dump's table; None if it is complete.

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
    work = NeighborsWork(rows, folder.path, first_row, count, options.k)
    manifest = {
        "stage": "neighbors",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": rows.inputs(),
        "dump": dump,
        "nobody": NOBODY,
    }
    shards = arrays.shard_count(count, SHARD_ROWS)
    return Stage(folder, f"neighbors {dump}", "crops", count, shards, work, manifest)
