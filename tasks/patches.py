"""Stage patches: an index of all stored patches, for searching those that resemble one patch.

The codebook is made once, from the dumps that the head was trained on. Each dump then has codes of
its own, so a later one costs its own size; then it is measured how many cells must be scanned. The
fifth crop of five shows what the quarters show and is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core import lists, patchsearch
from stego_core.errors import WorkspaceError
from stego_core.kmeans import unit
from stego_core.patchsearch import CENTRES, NOWHERE, TRAINED, Codebook
from tasks import patchindex, patchkey, patchrecall
from tasks.patchindex import CODEBOOK_FILE, PatchRows, PatchSearch
from tasks.patchkey import VERSION
from tasks.patchkey import searchable as searchable
from tasks.stage import Finish, Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.arrays import Layout
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

SAMPLE_ROWS, BLOCK_ROWS = 1024, 64
"""Crops that the codebook's sample is drawn from, and those read together."""
QUERIES = 64
"""Patches by which the recall is measured."""
SEED = 0


def stages(workspace: Workspace) -> Iterator[tuple[Stage | None, Finish]]:
    """What is missing for a search of every dump with features, each part planned once the one
    before it is finished: `for stage, finish in patches.stages(place): run_stage(stage, options,
    finish)`.

    Parts that are there are None.

    Raises:
        WorkspaceError: there are no features (an imported head has none).
    """
    patches = patch_rows(workspace)
    yield plan_codebook(patches), finish_codebook
    dumps = with_features(workspace, patches.rows.key)
    for dump in dumps:
        yield plan_codes(patches, dump), Stage.finish
    images = [queries_images(patches, dump) for dump in dumps]
    yield patchrecall.plan(patches.of(tuple(dumps)), images), patchrecall.finish


def patch_rows(workspace: Workspace) -> PatchRows:
    """Patches of the dumps that the head was trained on.

    Raises:
        WorkspaceError: there are no features.
    """
    rows = patchkey.trained_rows(workspace)
    return PatchRows(rows, patchkey.index_path(rows))


def with_features(workspace: Workspace, key: str) -> list[str]:
    """Dumps whose features are finished, in order of arrival."""
    dumps = workspace.dumps()
    return [d for d in dumps if workspace.folder(layout.features(key, d)).finished]


def search(workspace: Workspace) -> PatchSearch:
    """The index of all dumps that can be searched, read once.

    Raises:
        WorkspaceError: there is none; says what to do.
        CapacityError: it does not fit this machine's memory.
    """
    patches, dumps = patch_rows(workspace), searchable(workspace)
    if not dumps:
        raise WorkspaceError(
            f"the patches of {workspace.storage.uri} are not indexed yet; run `stego explore`, "
            "which does it first"
        )
    found = patches.of(tuple(dumps))
    probes = int(found.recall_folder().manifest()["probes"])
    return PatchSearch(found, patchindex.index_of(found), probes)


@dataclass(frozen=True)
class CodebookWork:
    """Centroids and centres from a sample of the patches, and queries: the only shard."""

    patches: PatchRows

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """The codebook."""
        watch, patches = Stopwatch(), self.patches
        generator = np.random.default_rng(SEED)
        valid = patches.tiling(np.flatnonzero(patches.rows.valid()))
        cells = patchsearch.cell_count(len(valid) * patches.tokens())
        drawn = generator.permutation(valid)[:SAMPLE_ROWS]
        each = -(-sample_size(cells) // max(len(drawn), 1))
        with watch("read"):
            sample = sampled(patches, np.sort(drawn), each, generator)
            rows = np.sort(generator.permutation(drawn)[:QUERIES])
            queries = sampled(patches, rows, 1, generator)
        with watch("infer"):
            made = Codebook.create(sample, cells, generator)
        tensors = {"centroids": made.centroids, "centres": made.centres, "queries": queries}
        images = rows // patches.crops()  # among those drawn of all the training dumps
        path = f"{patches.codebook_folder().path}/{CODEBOOK_FILE}"
        content = tables.write_tensors(patches.storage, path, {**tensors, "images": images})
        results = {"cells": len(made.centroids), "code_bytes": len(made.centres)}
        checksum = keys.digest(content)
        record = Record(shard, (0, 1), len(content), checksum, watch.seconds, results=results)
        patches.codebook_folder().record(record)
        return record


def sample_size(cells: int) -> int:
    """Patches that a codebook of so many cells is made from."""
    return max(lists.SAMPLE_PER_LIST * cells, CENTRES * TRAINED)


def sampled(
    patches: PatchRows, rows: NDArray[np.int64], each: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """(n, C) float32 of norm 1: some patches of each row, at most all, none of them twice."""
    depth, tokens = patches.rows.shape()[2], patches.tokens()
    parts = [np.empty((0, depth), np.float32)]
    for first in range(0, len(rows), BLOCK_ROWS):
        block = patches.rows.read("patches", rows[first : first + BLOCK_ROWS])
        block = block.reshape(len(block), tokens, depth)
        order = generator.permuted(np.tile(np.arange(tokens), (len(block), 1)), axis=1)
        empty = ~np.take_along_axis(block.any(axis=-1), order, axis=1)  # they hold no data
        order = np.take_along_axis(order, np.argsort(empty, axis=1, kind="stable"), axis=1)
        taken = np.take_along_axis(block, order[:, :each, None], axis=1)
        found = taken.reshape(-1, depth).astype(np.float32)
        parts.append(np.asarray(unit(found[found.any(axis=1)]), np.float32))
    return np.concatenate(parts)


def plan_codebook(patches: PatchRows) -> Stage | None:
    """The codebook; None if it is there."""
    folder = patches.codebook_folder()
    if folder.finished:
        return None
    cells, depth = patchsearch.cell_count(patches.total()), patches.rows.shape()[2]
    # The sample, its residuals and their nearest centroids; rows as they are read.
    blocks = 6 * BLOCK_ROWS * patches.tokens() * depth
    memory = 3 * 4 * depth * sample_size(cells) + 4 * cells * lists.BLOCK + blocks
    manifest = {"stage": "patches", "version": VERSION, "inputs": patches.rows.inputs()}
    work = CodebookWork(patches)
    return Stage(folder, "patches: codebook", "samples", 1, 1, work, manifest, memory)


def finish_codebook(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Say how large it is, and which one."""
    (record,) = stage.folder.records(stage.shards)
    return stage.finish(seconds, computed, **record.results, codebook=record.checksum)


@dataclass(frozen=True)
class CodesWork:
    """Cells and codes of one shard of a dump's patches, and the best of them for each query.

    Attributes:
        patches: of the dump alone.
        images: (Q) places in the dump of the queries' own images, which are not to be found; -1 of
            queries from other dumps.
    """

    patches: PatchRows
    images: tuple[int, ...]

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """One shard of the features' rows; invalid ones are nowhere."""
        watch, patches, storage = Stopwatch(), self.patches, self.patches.storage
        (dump,) = patches.rows.dumps
        every, tokens = patches.rows.shards()[shard], patches.tokens()
        rows = patches.tiling(every)
        with watch("read"):  # all of them: one read of many rows is faster than many of a few
            block = patches.rows.read("patches", every)[rows - every[0]]
            valid = patches.rows.read("valid", rows)
        with watch("infer"):
            vectors = unit(block.reshape(len(rows) * tokens, -1).astype(np.float32))
            cells, codes = patches.codebook().encode(np.asarray(vectors, np.float32))
            there = valid.repeat(tokens) & vectors.any(axis=1)  # the others hold no data
            cells = np.where(there, cells, NOWHERE).astype(np.int16)
            queries = patchindex.codebook_tensors(storage, patches.path)["queries"]
            cosines = vectors @ queries.T
            cosines[~there] = -np.inf
            cosines = cosines.reshape(len(rows), tokens, -1).max(axis=1)
            best = best_images(cosines, rows, patches.crops(), np.array(self.images))
        path = patches.codes_folder(dump).path
        with watch("write"):
            size, checksum = arrays.write_shard(storage, path, "codes", shard, codes)
            for name, values in {"cells": cells, **best}.items():
                arrays.write_shard(storage, path, name, shard, values)
        span = (int(rows[0]), int(rows[-1]) + 1)
        record = Record(shard, span, size, checksum, watch.seconds)
        Folder(storage, path).record(record)
        return record


def best_images(
    cosines: NDArray[np.float32],
    rows: NDArray[np.int64],
    crops: int,
    own: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """The images of a shard that resemble each query most, one row for each.

    Args:
        cosines: (n, Q) greatest cosine of each row with each query, -inf of invalid ones.
        rows: (n,) feature rows, those of an image together.
        crops: feature rows of an image.
        own: (Q,) image that a query is from, -1 of none here.

    Returns:
        `best` (1, Q, RANKS) float32 cosines, falling, -inf where there are fewer images, and
        `best_rows` (1, Q, RANKS) int64.
    """
    images = rows // crops
    cosines = np.where(images[:, None] == own, -np.float32(np.inf), cosines)
    _, first = np.unique(images, return_index=True)
    greatest = np.maximum.reduceat(cosines, first, axis=0)
    order = np.argsort(-greatest, axis=0, kind="stable")[: patchrecall.RANKS].T
    best = np.full((1, len(own), patchrecall.RANKS), -np.inf, np.float32)
    best_rows = np.full(best.shape, -1, np.int64)
    for query, found in enumerate(order):
        best[0, query, : len(found)] = greatest[found, query]
        edges = np.append(first, len(rows))
        for rank, image in enumerate(found.tolist()):
            within = cosines[edges[image] : edges[image + 1], query]
            best_rows[0, query, rank] = rows[edges[image] + within.argmax()]
    return {"best": best, "best_rows": best_rows}


def plan_codes(trained: PatchRows, dump: str) -> Stage | None:
    """A dump's codes; None if they are there.

    Args:
        trained: patches of the dumps that the codebook is from, which is finished.
        dump: one of these, or a later one.
    """
    patches, folder = trained.of((dump,)), trained.codes_folder(dump)
    codebook = trained.codebook_folder().manifest()
    folder.plan({"index": patches.rows.manifest(dump)["index"], "codebook": codebook["codebook"]})
    if folder.finished:
        return None
    own, crops = queries_images(trained, dump), patches.crops()
    shards = patches.rows.shards()
    size = len(shards[0]) // crops * patches.per_image()
    queries = (len(shards), len(own), patchrecall.RANKS)
    layouts = {
        "cells": Layout((patches.total(),), "int16", size, size),
        "codes": Layout((patches.total(), codebook["code_bytes"]), "uint8", size, size),
        "best": Layout(queries, "float32", 1),
        "best_rows": Layout(queries, "int64", 1),
    }
    arrays.create(patches.storage, folder.path, layouts)
    manifest = {
        "stage": "patches",
        "version": VERSION,
        "inputs": {**patches.rows.inputs(), "codebook": codebook["codebook"]},
        "dump": dump,
        "cells": codebook["cells"],
        "patches": patches.total(),
    }
    # Patches as stored, as vectors and without their centroids; products with the centroids.
    depth = patches.rows.shape()[2]
    memory = size * (2 * 2 + 3 * 4) * depth + 8 * codebook["cells"] * lists.BLOCK
    work = CodesWork(patches, tuple(own.tolist()))
    title = f"patches {dump}"
    return Stage(folder, title, "crops", patches.rows.total, len(shards), work, manifest, memory)


def queries_images(trained: PatchRows, dump: str) -> NDArray[np.int64]:
    """(Q,) places in a dump of the images that the queries are from, -1 of others."""
    images = patchindex.codebook_tensors(trained.storage, trained.path)["images"]
    if dump not in trained.rows.dumps:
        return np.full(len(images), -1, np.int64)
    number = trained.rows.dumps.index(dump)
    first, last = trained.rows.offsets()[number : number + 2] // trained.crops()
    return np.where((images >= first) & (images < last), images - first, -1)
