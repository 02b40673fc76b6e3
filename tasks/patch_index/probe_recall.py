"""How many lists a search of patches must scan, measured on a sample against all patches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import CpuWork
from tasks.log import Log
from tasks.patch_index import patch_search
from tasks.patch_index.patch_rows import PatchRows
from tasks.patch_index.patch_search import PatchSearch
from tasks.workspace import arrays, keys
from tasks.workspace.ledger import Record

log = Log(__name__)

RANKS = 24
"""The most similar images of a query, whose recall counts: a page of them."""
RECALL = 0.95
"""The recall that is enough."""
GAIN = 0.005
"""Twice as many lists must add at least this to the recall, or no more are tried."""
LEAST_SCANNED = 131_072
"""Patches that are scanned at least, which takes a hundredth of a second: all of a small corpus."""
MOST_SHARE = 4
"""At most one in so many lists is scanned, unless that would be fewer patches."""


@dataclass(frozen=True)
class ProbeRecallWork(CpuWork):
    """Measures the recall of the queries for more and more lists: the only shard.

    Attributes:
        patches: of all dumps, coded.
        images: (Q) numbers of the queries' images among those sampled from all dumps.
    """

    patches: PatchRows
    images: tuple[int, ...]

    def shard(self, shard: int) -> Record:
        """Shares of the queries' best images whose best crops are compared exactly."""
        watch, patches = Stopwatch(), self.patches
        with watch("read"):
            best = best_rows(patches, np.array(self.images))
            index = patch_search.index_of(patches)
            queries = patches.codebook_tensors()["queries"]
        curve: dict[int, float] = {}
        for probes in probe_counts(index.ntotal, index.nlist):
            search, hits = PatchSearch(patches, index, probes), 0
            with watch("infer"):
                for query, image, rows in zip(queries, self.images, best, strict=True):
                    hits += np.isin(rows, search.candidates(query, image)).sum()
            before = max(curve.values(), default=-1.0)
            curve[probes] = round(float(hits / max(sum(map(len, best)), 1)), 5)
            if curve[probes] >= RECALL or curve[probes] < before + GAIN:
                break  # the rows still missed are in these lists, behind others that look better
        results = {"curve": curve, "sample": len(queries)}
        checksum = keys.digest(keys.canonical(curve))
        record = Record(shard, (0, 1), 0, checksum, watch.seconds, results=results)
        return patches.recall_folder().record(record)


def best_rows(patches: PatchRows, query_images: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows, for each query, of the `RANKS` images that resemble it most, best first.

    The queries' own images, by their numbers (Q,), are left out.
    """
    folders = [patches.codes_folder(dump).path for dump in patches.rows.dumps]
    best, crops = (
        np.concatenate([arrays.read_rows(patches.storage, f, name, slice(None)) for f in folders])
        for name in ("best", "best_crops")
    )
    best[query_images, np.arange(len(query_images))] = -np.inf
    images = np.argsort(-best, axis=0, kind="stable")[:RANKS]
    rows = images * patches.crops() + np.take_along_axis(crops, images, axis=0)
    valid = np.isfinite(np.take_along_axis(best, images, axis=0))
    return [column[kept] for column, kept in zip(rows.T, valid.T, strict=True)]


def probe_counts(patches: int, lists: int) -> list[int]:
    """Numbers of lists to try for so many patches: twice as many each time."""
    probes = min(-(-LEAST_SCANNED * lists // max(patches, 1)), lists)
    most, numbers = max(probes, lists // MOST_SHARE), [probes]
    while probes < most:
        probes = min(2 * probes, most)
        numbers.append(probes)
    return numbers


def plan(trained: PatchRows, dumps: tuple[str, ...]) -> Stage | None:
    """Plan to measure how many lists to scan for some coded dumps; None if it is known."""
    patches, crops = trained.of_dumps(dumps), trained.crops()
    folder = patches.recall_folder()
    if folder.finished:
        return None
    images = trained.codebook_tensors()["images"]
    query_images = patches.rows.renumbered(images * crops, trained.rows) // crops
    code_bytes = patches.codebook_folder().manifest()["code_bytes"]
    memory = patch_search.index_memory(patches.total(), code_bytes)
    manifest = {"stage": "patches", "dumps": list(patches.rows.dumps), "ranks": RANKS}
    work = ProbeRecallWork(patches, tuple(query_images.tolist()))
    return Stage(folder, "patches: recall", "samples", 1, 1, work, manifest, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Choose the fewest lists that reach the recall, else those that reach most."""
    (record,) = stage.records()
    curve = {int(probes): float(recall) for probes, recall in record.results["curve"].items()}
    probes = min(curve, key=lambda probes: (-min(curve[probes], RECALL), probes))
    recall, sample = curve[probes], record.results["sample"]
    if recall < RECALL:
        log.warning("some of the best patches are missed", required=RECALL, recall=recall)
    return stage.finish(seconds, computed, probes=probes, recall=recall, sample=sample)
