"""How many cells a search of patches must scan, measured on a sample against all patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import patchindex
from tasks.log import Log
from tasks.patchindex import PatchRows
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import arrays, keys
from tasks.workspace.ledger import Record

log = Log(__name__)

RANKS = 24
"""Images that a query is to find: a page of them."""
AIM = 0.95
LEAST_SCANNED = 131_072
"""Patches that are scanned at least, which takes a hundredth of a second: small corpora are scanned
whole."""
MOST_SHARE = 4
"""Of so many cells at most one is scanned, unless that would be fewer patches."""


@dataclass(frozen=True)
class RecallWork:
    """What the queries find in one dump, for more and more cells: the only shard.

    Attributes:
        patches: of the dump alone, coded.
        images: (Q) as in `CodesWork`.
    """

    patches: PatchRows
    images: tuple[int, ...]

    def steps(self) -> Sequence[Step]:
        """One step on a CPU."""
        return [Step(self.shard)]

    def shard(self, shard: int) -> Record:
        """Shares of the queries' best images whose best crops are compared exactly."""
        watch, patches = Stopwatch(), self.patches
        (dump,) = patches.rows.dumps
        with watch("read"):
            sought = best_rows(patches)
            search = patchindex.loaded(patches, 1)
            queries = patchindex.codebook_tensors(patches.storage, patches.path)["queries"]
        curve = {}
        for probes in tried(len(search.index.codes[0]), len(search.index.edges) - 1):
            found = 0
            with watch("infer"):
                for query, own, rows in zip(queries, self.images, sought, strict=True):
                    without = own if own >= 0 else None
                    found += np.isin(rows, search.candidates(query, probes, without)).sum()
            curve[probes] = round(float(found / max(sum(map(len, sought)), 1)), 5)
            if curve[probes] >= AIM:
                break
        results = {"curve": curve, "sample": len(queries)}
        checksum = keys.digest(keys.canonical(curve))
        record = Record(shard, (0, 1), 0, checksum, watch.seconds, results=results)
        patches.recall_folder(dump).record(record)
        return record


def best_rows(patches: PatchRows) -> list[NDArray[np.int64]]:
    """For each query the rows of the images that resemble it most, among all of a dump's."""
    path = patches.codes_folder(patches.rows.dumps[0]).path
    cosines, rows = (
        np.moveaxis(arrays.read_rows(patches.storage, path, name, slice(None)), 0, 1)
        for name in ("best", "best_rows")
    )
    found = []
    for own, numbers in zip(cosines.reshape(len(cosines), -1), rows, strict=True):
        order = np.argsort(-own, kind="stable")[:RANKS]
        found.append(numbers.ravel()[order][np.isfinite(own[order])])
    return found


def tried(patches: int, cells: int) -> list[int]:
    """Numbers of cells to try for so many patches: twice as many each time."""
    least = min(-(-LEAST_SCANNED * cells // max(patches, 1)), cells)
    most = max(least, cells // MOST_SHARE)
    return [min(least << step, most) for step in range(cells) if least << step < 2 * most]


def plan(patches: PatchRows, images: NDArray[np.int64]) -> Stage | None:
    """How many cells to scan for a dump's patches, which are coded; None if it is known."""
    (dump,) = patches.rows.dumps
    folder = patches.recall_folder(dump)
    if folder.finished:
        return None
    memory = patchindex.index_memory(patches.total(), patches.codebook().centres.shape[0])
    work = RecallWork(patches, tuple(images.tolist()))
    manifest = {"stage": "patches", "dump": dump, "ranks": RANKS}
    return Stage(folder, f"patches: recall {dump}", "samples", 1, 1, work, manifest, memory)


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
