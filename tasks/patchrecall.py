"""How many cells a search of patches must scan, measured on a sample against all patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import patchindex
from tasks.log import Log
from tasks.patchindex import PatchRows, PatchSearch
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import arrays, keys
from tasks.workspace.ledger import Record

log = Log(__name__)

RANKS = 24
"""Images that a query is to find: a page of them."""
AIM, GAIN = 0.95, 0.005
"""The recall at which it is enough, and what twice as many cells must add to go on."""
LEAST_SCANNED = 131_072
"""Patches that are scanned at least, which takes a hundredth of a second: small corpora are scanned
whole."""
MOST_SHARE = 4
"""Of so many cells at most one is scanned, unless that would be fewer patches."""


@dataclass(frozen=True)
class RecallWork:
    """What the queries find, for more and more cells: the only shard.

    Attributes:
        patches: of all dumps, coded.
        images: (Q) numbers of the queries' own images among those drawn of all dumps.
    """

    patches: PatchRows
    images: tuple[int, ...]

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Shares of the queries' best images whose best crops are compared exactly."""
        watch, patches = Stopwatch(), self.patches
        with watch("read"):
            sought = best_rows(patches)
            index = patchindex.index_of(patches)
            queries = patchindex.codebook_tensors(patches.storage, patches.path)["queries"]
        curve: dict[int, float] = {}
        for probes in tried(len(index.patches), len(index.edges) - 1):
            search, found = PatchSearch(patches, index, probes), 0
            with watch("infer"):
                for query, own, rows in zip(queries, self.images, sought, strict=True):
                    found += np.isin(rows, search.candidates(query, own)).sum()
            before = max(curve.values(), default=-1.0)
            curve[probes] = round(float(found / max(sum(map(len, sought)), 1)), 5)
            if curve[probes] >= AIM or curve[probes] < before + GAIN:
                break  # what is still missed is in these cells, behind others that look better
        results = {"curve": curve, "sample": len(queries)}
        checksum = keys.digest(keys.canonical(curve))
        record = Record(shard, (0, 1), 0, checksum, watch.seconds, results=results)
        patches.recall_folder().record(record)
        return record


def best_rows(patches: PatchRows) -> list[NDArray[np.int64]]:
    """For each query the rows of the images that resemble it most, among all of all dumps'."""
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    for dump, first in zip(patches.rows.dumps, patches.rows.offsets(), strict=False):
        path = patches.codes_folder(dump).path
        best, rows = (
            arrays.read_rows(patches.storage, path, name, slice(None))
            for name in ("best", "best_rows")
        )
        parts += zip(best, rows + first, strict=True)
    cosines, rows = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    found = []
    for own, numbers in zip(cosines, rows, strict=True):
        order = np.argsort(-own, kind="stable")[:RANKS]
        found.append(numbers[order][np.isfinite(own[order])])
    return found


def tried(patches: int, cells: int) -> list[int]:
    """Numbers of cells to try for so many patches: twice as many each time."""
    least = min(-(-LEAST_SCANNED * cells // max(patches, 1)), cells)
    most = max(least, cells // MOST_SHARE)
    return [min(least << step, most) for step in range(cells) if least << step < 2 * most]


def plan(patches: PatchRows, images: Sequence[NDArray[np.int64]]) -> Stage | None:
    """How many cells to scan for all dumps' patches, which are coded; None if it is known.

    Args:
        patches: of all dumps.
        images: for each dump (Q) places in it of the queries' own images, -1 of others.
    """
    folder = patches.recall_folder()
    if folder.finished:
        return None
    firsts = patches.rows.offsets()[:-1] // patches.crops()
    own = np.max([np.where(p < 0, p, p + f) for p, f in zip(images, firsts, strict=True)], axis=0)
    memory = patchindex.index_memory(patches.total(), patches.codebook().centres.shape[0])
    manifest = {"stage": "patches", "dumps": list(patches.rows.dumps), "ranks": RANKS}
    work = RecallWork(patches, tuple(own.tolist()))
    return Stage(folder, "patches: recall", "samples", 1, 1, work, manifest, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Choose the fewest cells that reach the recall, else those that reach most."""
    (record,) = stage.folder.records(stage.shards)
    curve = {int(probes): float(recall) for probes, recall in record.results["curve"].items()}
    probes = min(curve, key=lambda each: (-min(curve[each], AIM), each))
    if curve[probes] < AIM:
        log.warning("some of the best patches are missed", wanted=AIM, found=curve[probes])
    return stage.finish(
        seconds, computed, probes=probes, recall=curve[probes], sample=record.results["sample"]
    )
