"""Inverted lists of feature rows: their centroids, then indexes of segments of the rows.

They are two small stages, which come before an approximate table of neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from stego_core.errors import DamageError
from stego_core.search import inverted_lists
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.features.rows import FeatureRows, cuts
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.workspace import arrays, keys, tables
from tasks.workspace.layout import CENTROIDS_FILE
from tasks.workspace.ledger import Folder, Record

VERSION = 2
"""Raised whenever the same rows would give other lists."""
SEGMENT_BYTES = 128 * 2**20
"""Vectors of a segment: what a worker searches at once, and keeps for its next shard."""
BLOCK_ROWS = 16_384
"""Rows that are read at once to be put into a segment."""
SCATTERED_ROWS = 4096
"""Rows of the sample that are read at once: Zarr takes ten times their memory."""
SEED = 0
"""Seed of the sample that centroids are made from, and of the first centroids."""


@dataclass(frozen=True)
class ListedRows:
    """Rows to be searched, and where their lists are; small and picklable.

    The last segment may have fewer than `segment_rows`.
    """

    rows: FeatureRows
    path: str
    segment_rows: int

    @classmethod
    def create(cls, rows: FeatureRows, path: str) -> "ListedRows":
        """Rows cut into segments that a worker can hold."""
        return cls(rows, path, max(SEGMENT_BYTES // (4 * rows.channels()), 1))

    @property
    def storage(self) -> Storage:
        """The workspace's files."""
        return self.rows.storage

    def folder(self, part: str) -> Folder:
        """Where the centroids, the segments or a recall lie."""
        return Folder(self.storage, f"{self.path}/{part}")

    def centroids_file(self) -> str:
        """Where the centroids lie."""
        return f"{self.path}/centroids/{CENTROIDS_FILE}"

    @remembered(1)
    def centroids(self) -> NDArray[np.float32]:
        """(L, C) float32 of norm 1."""
        return tables.read_tensors(self.storage, self.centroids_file())["centroids"]

    def segment_count(self) -> int:
        """How many segments hold all rows."""
        return arrays.shard_count(self.rows.total, self.segment_rows)

    def segment_file(self, number: int) -> str:
        """Where a segment's index lies, as faiss serializes it."""
        return f"{self.path}/segments/{number:03d}.faiss"

    def segment_span(self, number: int) -> tuple[int, int]:
        """First and past-the-last row of a segment."""
        return arrays.shard_span(number, self.segment_rows, self.rows.total)

    def segments(self, among: FeatureRows) -> Iterator[tuple[Any, NDArray[np.int64]]]:
        """Each index, with the numbers that its rows have among those of these and more dumps."""
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
        bytes_per_list = 16 * self.rows.channels() + 8 * inverted_lists.BLOCK
        return inverted_lists.list_count(self.rows.total) * bytes_per_list


@remembered(1)
def _index(listed: ListedRows, number: int) -> faiss.Index:
    path = listed.segment_file(number)
    content = listed.storage.read(path)
    if keys.digest(content) != listed.folder("segments").manifest()["checksums"][number]:
        raise DamageError(f"{path} is damaged; remove {listed.path} and run the same command again")
    return faiss.deserialize_index(np.frombuffer(content, np.uint8))


@dataclass(frozen=True)
class CentroidsWork(CpuWork):
    """The centroids, from a sample of the rows: the only shard."""

    listed: ListedRows

    def shard(self, shard: int) -> Record:
        """Centroids for as many lists as the rows call for."""
        watch, rows = Stopwatch(), self.listed.rows
        count = inverted_lists.list_count(rows.total)
        generator = np.random.default_rng(SEED)
        with watch("read"):
            sample = sample_rows(rows, inverted_lists.SAMPLE_PER_LIST * count, generator)
            blocks = cuts(sample, SCATTERED_ROWS)
            vectors = np.concatenate([rows.read("pooled", block) for block in blocks])
        with watch("infer"):
            centroids = inverted_lists.centroids(vectors, count, SEED)
        path, values = self.listed.centroids_file(), {"centroids": centroids}
        content = tables.write_tensors(self.listed.storage, path, values)
        size, checksum, results = len(content), keys.digest(content), {"lists": len(centroids)}
        record = Record(shard, (0, 1), size, checksum, watch.seconds, results=results)
        return self.listed.folder("centroids").record(record)


@dataclass(frozen=True)
class SegmentsWork(CpuWork):
    """The index of each segment: its rows by list."""

    listed: ListedRows

    def shard(self, shard: int) -> Record:
        """The index of one segment; invalid rows are in none."""
        watch, listed = Stopwatch(), self.listed
        first, last = listed.segment_span(shard)
        blocks = listed.rows.valid_blocks("pooled", cuts(np.arange(first, last), BLOCK_ROWS))
        vectors = (block for _, block in watch.each("read", blocks))
        index = inverted_lists.segment(vectors, listed.centroids())
        with watch("write"):
            content = faiss.serialize_index(index).tobytes()
            listed.storage.write(listed.segment_file(shard), content)
        record = Record(shard, (first, last), len(content), keys.digest(content), watch.seconds)
        return listed.folder("segments").record(record)


def sample_rows(rows: FeatureRows, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Some of the valid rows, in order: `count` of them, or all where there are fewer."""
    valid = np.flatnonzero(rows.valid())
    return np.sort(generator.choice(valid, min(count, len(valid)), replace=False))


def plan_centroids(listed: ListedRows) -> Stage | None:
    """Plan the centroids; None if they are there."""
    folder, memory = listed.folder("centroids"), listed.training_memory()
    if folder.finished:
        return None
    manifest = {"stage": "lists", "version": VERSION, "inputs": listed.rows.inputs()}
    work = CentroidsWork(listed)
    return Stage(folder, "lists: centroids", "samples", 1, 1, work, manifest, memory)


def plan_segments(listed: ListedRows) -> Stage | None:
    """Plan the indexes; None if they are there."""
    folder, work = listed.folder("segments"), SegmentsWork(listed)
    if folder.finished:
        return None
    manifest = {"stage": "lists", "version": VERSION}
    # The index; its bytes in a buffer that grows, as an array and as they are written.
    rows, shards, memory = listed.rows.total, listed.segment_count(), listed.memory(5)
    return Stage(folder, "lists: segments", "crops", rows, shards, work, manifest, memory)


def finish_segments(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Write the manifest with the checksum of each index."""
    checksums = [record.checksum for record in stage.records()]
    return stage.finish(seconds, computed, checksums=checksums)
