"""Inverted lists of feature rows: their centroids, then the members of each.

Two small stages that come before a table of neighbours where there are enough rows. The exact table
does not depend on them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core import lists
from stego_core.lists import Bounds
from stego_core.listsearch import Span
from tasks.prefetch import ahead
from tasks.rows import FeatureRows
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import arrays, keys, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.remembered import remembered
from tasks.workspace.storage import Storage

VERSION = 1
SHARDS, SHARD_ROWS = 16, 16_384
"""Shards of the members at most, since each describes all pairs of lists, and rows at least."""
BLOCK_ROWS = 16_384
SPAN_BYTES = 256 * 2**20
"""Vectors that a worker searches at once, and keeps for its next shard."""
SEED = 0


@dataclass(frozen=True)
class ListedRows:
    """Rows to be searched, and where their lists are.

    Attributes:
        rows: those of the dumps to search.
        path: of the lists.
        described: whether it is known how far members lie from centroids, for the exact search.
    """

    rows: FeatureRows
    path: str
    described: bool

    @property
    def storage(self) -> Storage:
        """The workspace's files."""
        return self.rows.workspace.storage

    @property
    def finished(self) -> bool:
        """Whether the lists are there."""
        return Folder(self.storage, f"{self.path}/members").finished

    def count(self) -> int:
        """L."""
        return int(Folder(self.storage, f"{self.path}/centroids").manifest()["lists"])

    def counts(self) -> NDArray[np.int64]:
        """(L,) members of each list."""
        return _counts(self)

    def channels(self) -> int:
        """C of a row's vector."""
        path = self.rows.path(self.rows.dumps[0])
        return int(arrays.open_array(self.storage, path, "pooled").shape[1])

    def shard_rows(self) -> int:
        """Rows of one shard of the members."""
        return arrays.shard_rows(arrays.open_array(self.storage, self.numbers_path(), "numbers"))

    def centroids(self) -> NDArray[np.float32]:
        """(L, C) float32 of norm 1."""
        return _centroids(self.storage, self.path)

    def bounds(self) -> Bounds:
        """What rules lists out, if their members are described."""
        return _bounds(self)

    def numbers(self, rows: NDArray[np.int64] | slice) -> NDArray[np.int32]:
        """The list of each row, −1 of invalid ones."""
        return arrays.read_rows(self.storage, self.numbers_path(), "numbers", rows)

    def numbers_path(self) -> str:
        """The Zarr group of the numbers."""
        return f"{self.path}/numbers.zarr"

    def blocks(
        self, first: int, last: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Valid rows of a range, each block read while the one before it is used."""

        def fetch(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            there = self.rows.read("valid", rows)
            return rows[there], self.rows.read("pooled", rows)[there]

        edges = range(first, last, BLOCK_ROWS)
        parts = [np.arange(start, min(start + BLOCK_ROWS, last)) for start in edges]
        return (found for _, found in ahead(parts, fetch, depth=1))

    def spans(self, among: FeatureRows) -> Iterator[Span]:
        """All valid rows, with the numbers that they have among the rows of more dumps."""
        size = max(SPAN_BYTES // (4 * self.channels()), 1)
        for first in range(0, self.rows.total, size):
            yield _span(self, among, first, min(first + size, self.rows.total))

    def memory(self) -> int:
        """Bytes that a search holds of the rows and of their lists at once, predicted."""
        return search_memory(self.rows.total, self.channels(), self.count(), self.described)


def search_memory(rows: int, channels: int, count: int, described: bool) -> int:
    """Bytes that a worker holds of rows and `count` lists while it searches, predicted."""
    span = min(rows, SPAN_BYTES // (4 * channels))
    spans = 1 if span == rows else 2  # the next one is read while one is remembered
    tables = 3 * 4 * count * count if described else 0
    return spans * span * (4 * channels + 16) + 12 * rows + tables + 4 * count * lists.BLOCK


@remembered(1)
def _centroids(storage: Storage, path: str) -> NDArray[np.float32]:
    found: NDArray[np.float32] = tables.read_tensors(storage, centroids_file(path))["centroids"]
    return found


@remembered(1)
def _bounds(listed: ListedRows) -> Bounds:
    found = lists.Members.create(len(listed.centroids()))
    for shard in range(arrays.shard_count(listed.rows.total, listed.shard_rows())):
        part = tables.read_tensors(listed.storage, members_file(listed.path, shard))
        found = found.merge(lists.Members(**part))
    return Bounds.create(listed.centroids(), found)


@remembered(1)
def _counts(listed: ListedRows) -> NDArray[np.int64]:
    numbers = listed.numbers(slice(None))
    return np.bincount(numbers[numbers >= 0], minlength=len(listed.centroids()))


@remembered(1)
def _span(listed: ListedRows, among: FeatureRows, first: int, last: int) -> Span:
    numbers = listed.numbers(slice(first, last)).astype(np.int64)
    valid = numbers >= 0
    vectors = np.empty((int(valid.sum()), listed.channels()), np.float32)
    rows, done = first + np.flatnonzero(valid), 0
    for _, block in listed.blocks(first, last):
        vectors[done : done + len(block)] = block
        done += len(block)
    count = len(listed.centroids())
    return Span.create(vectors, among.renumbered(rows, listed.rows), numbers[valid], count)


def centroids_file(path: str) -> str:
    """Where the centroids of lists lie."""
    return f"{path}/centroids/centroids.safetensors"


def members_file(path: str, shard: int) -> str:
    """Where it lies what a shard's rows tell of the lists."""
    return f"{path}/members/{shard:03d}.safetensors"


@dataclass(frozen=True)
class CentroidsWork:
    """The centroids, from a sample of the rows: the only shard."""

    listed: ListedRows

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Centroids for so many lists as the rows call for."""
        watch, rows, storage = Stopwatch(), self.listed.rows, self.listed.storage
        generator = np.random.default_rng(SEED)
        pure = self.listed.described
        count = lists.list_count(rows.total, pure)
        with watch("read"):
            sample = rows.read("pooled", drawn(rows, lists.SAMPLE_PER_LIST * count, generator))
        with watch("infer"):
            found = lists.centroids(sample, count, pure, generator)
        content = tables.write_tensors(
            storage, centroids_file(self.listed.path), {"centroids": found}
        )
        size, checksum = len(content), keys.digest(content)
        record = Record(shard, (0, 1), size, checksum, watch.seconds, results={"lists": len(found)})
        Folder(storage, f"{self.listed.path}/centroids").record(record)
        return record


@dataclass(frozen=True)
class MembersWork:
    """The list of each row, and what that tells of the lists."""

    listed: ListedRows

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Numbers of the lists of one shard of rows."""
        watch, listed, size = Stopwatch(), self.listed, self.listed.shard_rows()
        first, last = shard * size, min((shard + 1) * size, listed.rows.total)
        centroids = listed.centroids()
        numbers = np.full(last - first, -1, np.int32)
        members = lists.Members.create(len(centroids) if listed.described else 0)
        for rows, block in watch.each("read", listed.blocks(first, last)):
            with watch("infer"):
                if listed.described:
                    numbers[rows - first] = members.add(block, centroids)
                else:
                    numbers[rows - first] = lists.nearest_lists(block, centroids)[:, 0]
        with watch("write"):
            if listed.described:
                path = members_file(listed.path, shard)
                tables.write_tensors(listed.storage, path, vars(members))
            size, checksum = arrays.write_shard(
                listed.storage, listed.numbers_path(), "numbers", shard, numbers
            )
        record = Record(shard, (first, last), size, checksum, watch.seconds)
        Folder(listed.storage, f"{listed.path}/members").record(record)
        return record


def drawn(rows: FeatureRows, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """So many of the valid rows, in order; all of them if they are no more."""
    valid = np.flatnonzero(rows.valid())
    return np.sort(generator.choice(valid, min(count, len(valid)), replace=False))


def plan_centroids(listed: ListedRows) -> Stage | None:
    """The centroids; None if the lists are there."""
    folder = Folder(listed.storage, f"{listed.path}/centroids")
    if folder.finished:
        return None
    channels = listed.channels()
    vectors = lists.SAMPLE_PER_LIST * lists.list_count(listed.rows.total, listed.described)
    # The sample as read and as stored; centroids as sums in float64; products of a block.
    memory = 8 * channels * vectors + lists.MOST_LISTS * (16 * channels + 8 * lists.BLOCK)
    manifest = {"stage": "lists", "version": VERSION, "inputs": listed.rows.inputs()}
    work = CentroidsWork(listed)
    return Stage(folder, "lists: centroids", "samples", 1, 1, work, manifest, memory)


def finish_centroids(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Say how many lists there are."""
    (record,) = stage.folder.records(stage.shards)
    return stage.finish(seconds, computed, **record.results)


def plan_members(listed: ListedRows) -> Stage | None:
    """The members; None if they are there."""
    if listed.finished:
        return None
    folder = Folder(listed.storage, f"{listed.path}/members")
    total = listed.rows.total
    size = max(SHARD_ROWS, -(-total // SHARDS))
    layout = Layout((total,), "int32", size, size)
    arrays.create(listed.storage, listed.numbers_path(), {"numbers": layout})
    count = listed.count()
    pairs = 2 * 4 * count * count if listed.described else 0
    blocks = 3 * 4 * listed.channels() * BLOCK_ROWS + 8 * count * lists.BLOCK
    manifest = {"stage": "lists", "version": VERSION, "described": listed.described}
    shards, work = arrays.shard_count(total, listed.shard_rows()), MembersWork(listed)
    return Stage(folder, "lists: members", "crops", total, shards, work, manifest, pairs + blocks)
