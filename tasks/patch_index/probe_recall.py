"""How many lists a search of patches must scan, measured on a sample against all patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.log import Log
from tasks.patch_index import patch_search
from tasks.patch_index.patch_search import PatchRows, PatchSearch
from tasks.workspace import arrays, keys
from tasks.workspace.ledger import Record

log = Log(__name__)

RANKS = 24
"""Images that a query is to find: a page of them."""
AIM = 0.95
"""The recall at which it is enough."""
GAIN = 0.005
"""What twice as many lists must add to the recall to go on."""
LEAST_SCANNED = 131_072
"""Patches that are scanned at least, which takes a hundredth of a second: small corpora are scanned
whole."""
MOST_SHARE = 4
"""Of so many lists at most one is scanned, unless that would be fewer patches."""


@dataclass(frozen=True)
class RecallWork:
    """What the queries find, for more and more lists: the only shard.

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
            sought = best_rows(patches, np.array(self.images))
            index = patch_search.index_of(patches)
            queries = patches.codebook_tensors()["queries"]
        curve: dict[int, float] = {}
        for probes in tried(index.ntotal, index.nlist):
            search, found = PatchSearch(patches, index, probes), 0
            with watch("infer"):
                for query, own, rows in zip(queries, self.images, sought, strict=True):
                    found += np.isin(rows, search.candidates(query, own)).sum()
            before = max(curve.values(), default=-1.0)
            curve[probes] = round(float(found / max(sum(map(len, sought)), 1)), 5)
            if curve[probes] >= AIM or curve[probes] < before + GAIN:
                break  # what is still missed is in these lists, behind others that look better
        results = {"curve": curve, "sample": len(queries)}
        checksum = keys.digest(keys.canonical(curve))
        record = Record(shard, (0, 1), 0, checksum, watch.seconds, results=results)
        patches.recall_folder().record(record)
        return record


def best_rows(patches: PatchRows, own: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """For each query the rows of the `RANKS` images that resemble it most, best first.

    Args:
        patches: of all dumps, coded.
        own: (Q,) numbers of the queries' own images, which are left out.
    """
    folders = [patches.codes_folder(dump).path for dump in patches.rows.dumps]
    best, crops = (
        np.concatenate([arrays.read_rows(patches.storage, f, name, slice(None)) for f in folders])
        for name in ("best", "best_crops")
    )
    best[own, np.arange(len(own))] = -np.inf
    images = np.argsort(-best, axis=0, kind="stable")[:RANKS]
    rows = images * patches.crops() + np.take_along_axis(crops, images, axis=0)
    valid = np.isfinite(np.take_along_axis(best, images, axis=0))
    return [column[there] for column, there in zip(rows.T, valid.T, strict=True)]


def tried(patches: int, lists: int) -> list[int]:
    """Numbers of lists to try for so many patches: twice as many each time."""
    probes = min(-(-LEAST_SCANNED * lists // max(patches, 1)), lists)
    most, numbers = max(probes, lists // MOST_SHARE), [probes]
    while probes < most:
        probes = min(2 * probes, most)
        numbers.append(probes)
    return numbers


def plan(trained: PatchRows, dumps: tuple[str, ...]) -> Stage | None:
    """How many lists to scan for the patches of some dumps, which are coded; None if it is known.

    Args:
        trained: patches of the dumps that the codebook is from.
        dumps: these and others.
    """
    patches, crops = trained.of(dumps), trained.crops()
    folder = patches.recall_folder()
    if folder.finished:
        return None
    images = trained.codebook_tensors()["images"]
    own = patches.rows.renumbered(images * crops, trained.rows) // crops
    code_bytes = patches.codebook_folder().manifest()["code_bytes"]
    memory = patch_search.index_memory(patches.total(), code_bytes)
    manifest = {"stage": "patches", "dumps": list(patches.rows.dumps), "ranks": RANKS}
    work = RecallWork(patches, tuple(own.tolist()))
    return Stage(folder, "patches: recall", "samples", 1, 1, work, manifest, memory)


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Choose the fewest lists that reach the recall, else those that reach most."""
    (record,) = stage.folder.records(stage.shards)
    curve = {int(probes): float(recall) for probes, recall in record.results["curve"].items()}
    probes = min(curve, key=lambda each: (-min(curve[each], AIM), each))
    if curve[probes] < AIM:
        log.warning("some of the best patches are missed", wanted=AIM, found=curve[probes])
    return stage.finish(
        seconds, computed, probes=probes, recall=curve[probes], sample=record.results["sample"]
    )
