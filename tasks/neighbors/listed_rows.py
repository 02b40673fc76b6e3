"""Inverted lists of feature rows: their centroids, then indexes of segments of the rows.

Two small stages that come before an approximate table of neighbours where there are enough rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from stego_core.errors import DamageError
from stego_core.search import inverted_lists
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.features.rows import FeatureRows
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import arrays, keys, tables
from tasks.workspace.ledger import Folder, Record

VERSION = 2
SEGMENT_BYTES = 128 * 2**20
"""Vectors of a segment: what a worker searches at once, and keeps for its next shard."""
BLOCK_ROWS = 16_384
"""Rows that are read at once to be put into a segment."""
SCATTERED_ROWS = 4096
"""Rows of the sample that are read at once: Zarr takes ten times their memory."""
SEED = 0
"""Draws the sample that centroids are made from, and the first centroids."""


@dataclass(frozen=True)
class ListedRows:
    """Rows to be searched, and where their lists are; small and picklable.

    Attributes:
        rows: those of the dumps to search.
        path: of the lists.
        segment_rows: rows of a segment; the last one may have fewer.
    """

    rows: FeatureRows
    path: str
    segment_rows: int

    @property
    def storage(self) -> Storage:
        """The workspace's files."""
        return self.rows.workspace.storage

    def folder(self, part: str) -> Folder:
        """Where the centroids, the segments or a recall lie."""
        return Folder(self.storage, f"{self.path}/{part}")

    def centroids(self) -> NDArray[np.float32]:
        """(L, C) float32 of norm 1."""
        return _centroids(self.storage, self.centroids_file())

    def centroids_file(self) -> str:
        """Where the centroids lie."""
        return f"{self.path}/centroids/centroids.safetensors"

    @classmethod
    def create(cls, rows: FeatureRows, path: str) -> "ListedRows":
        """Cut into segments that a worker can hold."""
        return cls(rows, path, max(SEGMENT_BYTES // (4 * rows.channels()), 1))

    def segment_count(self) -> int:
        """How many segments hold all rows."""
        return arrays.shard_count(self.rows.total, self.segment_rows)

    def segment_file(self, number: int) -> str:
        """Where a segment's index lies, as faiss serializes it."""
        return f"{self.path}/segments/{number:03d}.faiss"

    def segment_span(self, number: int) -> tuple[int, int]:
        """First and past-the-last row of a segment."""
        size = self.segment_rows
        return number * size, min((number + 1) * size, self.rows.total)

    def segments(self, among: FeatureRows) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Each index, with the numbers that its rows have among the rows of more dumps."""
        for number in range(self.segment_count()):
            rows = np.arange(*self.segment_span(number))
            ids = among.renumbered(rows[self.rows.read("valid", rows)], self.rows)
            yield _index(self, number), ids

    def memory(self, copies: int) -> int:
        """Bytes that a worker holds of so many copies of a segment, predicted."""
        row = 4 * self.rows.channels() + 32  # its vector, its number, where it lies
        return copies * row * min(self.segment_rows, self.rows.total) + self._centroids_memory()

    def training_memory(self) -> int:
        """Bytes that a worker holds while it makes centroids, predicted."""
        sample = inverted_lists.SAMPLE_PER_LIST * inverted_lists.list_count(self.rows.total)
        rows = 3 * sample + 10 * min(sample, SCATTERED_ROWS)
        return 4 * self.rows.channels() * rows + self._centroids_memory()

    def _centroids_memory(self) -> int:
        return inverted_lists.list_count(self.rows.total) * (
            16 * self.rows.channels() + 8 * inverted_lists.BLOCK
        )


@remembered(1)
def _centroids(storage: Storage, path: str) -> NDArray[np.float32]:
    stored: NDArray[np.float32] = tables.read_tensors(storage, path)["centroids"]
    return stored


@remembered(1)
def _index(listed: ListedRows, number: int) -> faiss.Index:
    path = listed.segment_file(number)
    content = listed.storage.read(path)
    if keys.digest(content) != listed.folder("segments").manifest()["checksums"][number]:
        raise DamageError(f"{path} is damaged; remove {listed.path} and run the same command again")
    return faiss.deserialize_index(np.frombuffer(content, np.uint8))


@dataclass(frozen=True)
class CentroidsWork:
    """The centroids, from a sample of the rows: the only shard."""

    listed: ListedRows

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Centroids for as many lists as the rows call for."""
        watch, rows = Stopwatch(), self.listed.rows
        count = inverted_lists.list_count(rows.total)
        generator = np.random.default_rng(SEED)
        with watch("read"):
            picked = sampled(rows, inverted_lists.SAMPLE_PER_LIST * count, generator)
            sample = np.empty((len(picked), rows.channels()), np.float32)
            for first in range(0, len(picked), SCATTERED_ROWS):
                part = slice(first, first + SCATTERED_ROWS)
                sample[part] = rows.read("pooled", picked[part])
        with watch("infer"):
            made = inverted_lists.centroids(sample, count, SEED)
        path = self.listed.centroids_file()
        content = tables.write_tensors(self.listed.storage, path, {"centroids": made})
        outcome = {"lists": len(made)}
        digest = keys.digest(content)
        record = Record(shard, (0, 1), len(content), digest, watch.seconds, results=outcome)
        self.listed.folder("centroids").record(record)
        return record


@dataclass(frozen=True)
class SegmentsWork:
    """The index of each segment: its rows by list."""

    listed: ListedRows

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """The index of one segment; invalid rows are in none."""
        watch, listed = Stopwatch(), self.listed
        first, last = listed.segment_span(shard)
        spans = np.split(np.arange(first, last), range(BLOCK_ROWS, last - first, BLOCK_ROWS))
        blocks = watch.each("read", listed.rows.valid_blocks("pooled", spans))
        index = inverted_lists.segment((block for _, block in blocks), listed.centroids())
        with watch("write"):
            content = faiss.serialize_index(index).tobytes()
            listed.storage.write(listed.segment_file(shard), content)
        record = Record(shard, (first, last), len(content), keys.digest(content), watch.seconds)
        listed.folder("segments").record(record)
        return record


def sampled(rows: FeatureRows, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """As many of the valid rows, in order; all of them if they are no more."""
    valid = np.flatnonzero(rows.valid())
    return np.sort(generator.choice(valid, min(count, len(valid)), replace=False))


def plan_centroids(listed: ListedRows) -> Stage | None:
    """The centroids; None if they are there."""
    folder, memory = listed.folder("centroids"), listed.training_memory()
    if folder.finished:
        return None
    manifest = {"stage": "lists", "version": VERSION, "inputs": listed.rows.inputs()}
    work = CentroidsWork(listed)
    return Stage(folder, "lists: centroids", "samples", 1, 1, work, manifest, memory)


def finish_centroids(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Say how many lists there are."""
    (record,) = stage.folder.records(stage.shards)
    return stage.finish(seconds, computed, **record.results)


def plan_segments(listed: ListedRows) -> Stage | None:
    """The indexes; None if they are there."""
    folder, work = listed.folder("segments"), SegmentsWork(listed)
    if folder.finished:
        return None
    manifest = {"stage": "lists", "version": VERSION}
    # The index; its bytes in a buffer that grows, as an array and as they are written.
    rows, shards, memory = listed.rows.total, listed.segment_count(), listed.memory(5)
    return Stage(folder, "lists: segments", "crops", rows, shards, work, manifest, memory)


def finish_segments(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Note the checksum of each index."""
    checksums = [record.checksum for record in stage.folder.records(stage.shards)]
    return stage.finish(seconds, computed, checksums=checksums)
