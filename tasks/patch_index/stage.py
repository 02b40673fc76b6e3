"""Stage patches: an index of all stored patches, for searching those that resemble one patch.

The codebook is made once, from the dumps that the head was trained on. Then each dump is coded, so
a later one costs its own size, and a sample shows how many lists must be scanned. The fifth crop of
five shows what the quarters show and is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from stego_core.clustering.kmeans import unit
from stego_core.search import patch_index
from stego_core.search.patch_index import NO_LIST
from tasks.engine.stage import Finish, Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.features.rows import cuts
from tasks.patch_index import probe_recall
from tasks.patch_index.patch_rows import VERSION, PatchRows
from tasks.patch_index.patch_search import empty_index
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Record
from tasks.workspace.workspace import Workspace

SAMPLE_ROWS = 1024
"""Crops that the codebook's sample comes from."""
BLOCK_ROWS = 64
"""Crops that are read together for the sample."""
QUERIES = 64
"""Patches that the recall is measured on."""
SEED = 0
"""Of the sample and of the codebook."""


def stages(workspace: Workspace) -> Iterator[tuple[Stage | None, Finish]]:
    """The parts of an index of every dump with features, each planned once the one before it is
    finished; None for a part that is there.

    Raises:
        WorkspaceError: there are no features (an imported head has none).
    """
    patches = PatchRows.trained(workspace)
    yield plan_codebook(patches), finish_codebook
    features = {dump: layout.features(patches.rows.key, dump) for dump in workspace.dumps()}
    dumps = [dump for dump, path in features.items() if workspace.folder(path).finished]
    for dump in dumps:
        yield plan_codes(patches, dump), Stage.finish
    yield probe_recall.plan(patches, tuple(dumps)), probe_recall.finish


@dataclass(frozen=True)
class CodebookWork(CpuWork):
    """An index trained on a sample of the patches, and queries: the only shard."""

    patches: PatchRows

    def shard(self, shard: int) -> Record:
        """The codebook."""
        watch, patches = Stopwatch(), self.patches
        generator = np.random.default_rng(SEED)
        valid = patches.tiling(np.flatnonzero(patches.rows.valid()))
        lists = patch_index.list_count(len(valid) * patches.tokens())
        sources = generator.permutation(valid)[:SAMPLE_ROWS]
        per_row = -(-patch_index.sample_size(lists) // max(len(sources), 1))
        with watch("read"):
            sample = sample_patches(patches, np.sort(sources), per_row, generator)
            rows = np.sort(generator.permutation(sources)[:QUERIES])
            queries = sample_patches(patches, rows, 1, generator)
        with watch("infer"):
            index = patch_index.train(sample, lists, SEED)
        images = rows // patches.crops()  # among those sampled from all training dumps
        content, folder = np.asarray(faiss.serialize_index(index)), patches.codebook_folder()
        tensors: dict[str, NDArray[Any]] = {"index": content, "queries": queries, "images": images}
        tables.write_tensors(patches.storage, f"{folder.path}/{layout.CODEBOOK_FILE}", tensors)
        size, checksum = content.nbytes, keys.digest(content.tobytes())
        results = {"lists": index.nlist, "code_bytes": index.code_size}
        return folder.record(Record(shard, (0, 1), size, checksum, watch.seconds, results=results))


def sample_patches(
    patches: PatchRows, rows: NDArray[np.int64], per_row: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """(n, C) float32 of norm 1: some patches of each row, at most all, none of them twice."""
    depth, tokens = patches.rows.shape()[2], patches.tokens()
    parts = [np.empty((0, depth), np.float32)]
    for block_rows in cuts(rows, BLOCK_ROWS):
        block = patches.rows.read("patches", block_rows).reshape(-1, tokens, depth)
        order = generator.permuted(np.tile(np.arange(tokens), (len(block), 1)), axis=1)
        empty = ~np.take_along_axis(block.any(axis=-1), order, axis=1)  # they hold no data
        order = np.take_along_axis(order, np.argsort(empty, axis=1, kind="stable"), axis=1)
        sample = np.take_along_axis(block, order[:, :per_row, None], axis=1)
        vectors = sample.reshape(-1, depth).astype(np.float32)
        parts.append(np.asarray(unit(vectors[vectors.any(axis=1)]), np.float32))
    return np.concatenate(parts)


def plan_codebook(patches: PatchRows) -> Stage | None:
    """Plan the codebook; None if it is there."""
    folder = patches.codebook_folder()
    if folder.finished:
        return None
    lists, depth = patch_index.list_count(patches.total()), patches.rows.shape()[2]
    # The sample, faiss's copy and its residuals; rows as they are read.
    blocks = 6 * BLOCK_ROWS * patches.tokens() * depth
    memory = 3 * 4 * depth * patch_index.sample_size(lists) + blocks
    manifest = {"stage": "patches", "version": VERSION, "inputs": patches.rows.inputs()}
    work = CodebookWork(patches)
    return Stage(folder, "patches: codebook", "samples", 1, 1, work, manifest, memory)


def finish_codebook(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Write the manifest with the codebook's size and digest."""
    (record,) = stage.records()
    return stage.finish(seconds, computed, **record.results, codebook=record.checksum)


@dataclass(frozen=True)
class CodesWork(CpuWork):
    """Codes of one shard of a dump's patches, and how much the images resemble the queries."""

    patches: PatchRows

    def shard(self, shard: int) -> Record:
        """One shard of the features' rows; patches without data get no code."""
        watch, patches = Stopwatch(), self.patches
        rows = patches.rows.shards()[shard]
        with watch("read"):
            vectors, with_data = self._read(rows)
        with watch("infer"):
            index, tensors = empty_index(patches), patches.codebook_tensors()
            values = encoded(index, vectors, with_data)
            values |= self._similarities(vectors, with_data, tensors["queries"])
        folder = patches.codes_folder(patches.rows.dumps[0])
        with watch("write"):
            written = {
                name: arrays.write_shard(patches.storage, folder.path, name, shard, value)
                for name, value in values.items()
            }
        span = (int(rows[0]), int(rows[-1]) + 1)
        return folder.record(Record(shard, span, *written["codes"], watch.seconds))

    def _read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Unit vectors (n, C) of the patches of those rows that tile images, and which hold data.

        All rows are read: one read of many is faster than many of a few.
        """
        patches = self.patches
        tiling = patches.tiling(rows)
        block = patches.rows.read("patches", rows)[tiling - rows[0]]
        valid = patches.rows.read("valid", tiling).repeat(patches.tokens())
        vectors = unit(block.reshape(len(valid), -1).astype(np.float32))
        return np.asarray(vectors, np.float32), valid & vectors.any(axis=1)

    def _similarities(
        self,
        vectors: NDArray[np.float32],
        with_data: NDArray[np.bool_],
        queries: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        """For each image its greatest cosine with each query, -inf without data, and that crop."""
        cosines = np.where(with_data[:, None], vectors @ queries.T, np.float32(-np.inf))
        shape = -1, self.patches.tiles(), self.patches.tokens(), len(queries)
        crops = cosines.reshape(shape).max(axis=2)
        return {"best": crops.max(axis=1), "best_crops": crops.argmax(axis=1).astype(np.uint8)}


def encoded(
    index: faiss.IndexIVFPQ, vectors: NDArray[np.float32], with_data: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Codes (n, `sa_code_size`) uint8 of vectors (n, C), and their lists (n,) int16."""
    codes = np.zeros((len(vectors), index.sa_code_size()), np.uint8)
    codes[with_data] = index.sa_encode(vectors[with_data])
    lists = np.where(with_data, patch_index.list_numbers(index, codes), NO_LIST)
    return {"codes": codes, "lists": lists.astype(np.int16)}


def plan_codes(trained: PatchRows, dump: str) -> Stage | None:
    """Plan the codes of a dump, a trained or a later one; None if they are there."""
    patches, folder = trained.of_dumps((dump,)), trained.codes_folder(dump)
    codebook = trained.codebook_folder().manifest()
    folder.plan({"index": patches.rows.manifest(dump)["index"], "codebook": codebook["codebook"]})
    if folder.finished:
        return None
    shards = patches.rows.shards()
    images = len(shards[0]) // patches.crops()
    arrays.create(patches.storage, folder.path, codes_layouts(patches, images))
    manifest = {
        "stage": "patches",
        "version": VERSION,
        "inputs": {**patches.rows.inputs(), "codebook": codebook["codebook"]},
        "dump": dump,
        "patches": patches.total(),
    }
    # Patches as stored, as vectors, those with data and without their centroids.
    depth = patches.rows.shape()[2]
    memory = images * patches.per_image() * (2 * 2 + 4 * 4) * depth
    title, work = f"patches {dump}", CodesWork(patches)
    return Stage(folder, title, "crops", patches.rows.total, len(shards), work, manifest, memory)


def codes_layouts(patches: PatchRows, images: int) -> dict[str, Layout]:
    """Arrays of a dump's codes, for so many images in a shard."""
    total, count = patches.total(), patches.total() // patches.per_image()
    size, width = images * patches.per_image(), empty_index(patches).sa_code_size()
    queries = len(patches.codebook_tensors()["queries"])
    return {
        "codes": Layout((total, width), "uint8", size, size),
        "lists": Layout((total,), "int16", size, size),
        "best": Layout((count, queries), "float32", images, images),
        "best_crops": Layout((count, queries), "uint8", images, images),
    }
