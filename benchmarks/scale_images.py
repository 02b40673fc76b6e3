"""How planning, ending and showing a stage grow with the images of one dump, without pixel work.

    python benchmarks/scale_images.py --counts 10000 100000 1000000

Files are empty and records are made up, so what is measured is what the main process does beside
the workers: listing, planning, finding missing shards, ending, status, and the explorer's first
page. Each is measured in a process of its own: seconds, and the most memory beyond what its
imports hold. An exponent is the e of seconds = c · images^e between the two largest counts.
"""

import argparse
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness
import memory
import numpy as np
from PIL import Image

from flows.explorer.state import Explorer
from stego_core.masks.margins import MarginSums
from tasks.browse import gallery
from tasks.corpus import findings
from tasks.corpus import stage as corpus
from tasks.corpus.listing import INDEX_COLUMNS, QUARANTINE_COLUMNS
from tasks.engine.stage import Stage
from tasks.images import number_counts, rendering
from tasks.masks import confidence_table
from tasks.masks import stage as masks
from tasks.masks.segmenter import MASKS_VERSION
from tasks.options import CorpusOptions
from tasks.report import status
from tasks.workspace import keys, layout, tables
from tasks.workspace.arrays import shard_count
from tasks.workspace.ledger import Record
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

CLASSES = 16
PIXELS = 240 * 320
FOLDER_IMAGES = 1000
DUMP = "images"
MASKS_KEY, CLUSTERS_KEY, HEAD_KEY = "m" * 16, "c" * 16, "h" * 16
MIB = 2**20
MEMORY_MIB = 1024
LIMITS = {  # seconds and MiB at a million images
    "plan of a finished dump": (30, MEMORY_MIB),
    "missing shards": (10, MEMORY_MIB),
    "masks: end": (60, 300),
    "status": (2, MEMORY_MIB),
    "explorer: first page": (1, 100),
}


def write_files(folder: Path, count: int) -> None:
    """Empty files with the names of images, a thousand in a folder."""
    for first in range(0, count, FOLDER_IMAGES):
        place = folder / f"{first // FOLDER_IMAGES:04d}"
        place.mkdir(parents=True)
        for number in range(first, min(first + FOLDER_IMAGES, count)):
            (place / f"image-{number:07d}.jpg").touch()


def plan_corpus(place: Path) -> Stage | None:
    """List the files, or look whether they are as they were."""
    workspace = Workspace.create(str(place / "ws"))
    return corpus.plan(workspace, DUMP, CorpusOptions(images=str(place / "images")))


def record_corpus(place: Path, count: int) -> None:
    """Every shard's parts and record, as the workers would have written them."""
    folder = Workspace.open(str(place / "ws")).corpus(DUMP)
    storage, size = folder.storage, corpus.SHARD_IMAGES
    listing = tables.read_columns(
        storage, f"{folder.path}/{layout.LISTING_FILE}", ["path", "image_id"]
    )
    content = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(content, "png")
    with rendering.opened(content.getvalue(), 1000) as source:
        values, tensors = number_counts.pack([number_counts.NumberCounts.of(source)])
    for shard in range(shard_count(count, size)):
        first, last = shard * size, min((shard + 1) * size, count)
        rows = last - first
        index = {
            **{name: listing[name][first:last] for name in ("path", "image_id")},
            **{"height": [240] * rows, "width": [320] * rows, "bytes": [0] * rows},
            "digest": [f"{number:032x}" for number in range(first, last)],
            **dict.fromkeys(("label", "label_digest"), [None] * rows),
        }
        nothing: dict[str, list[Any]] = {name: [] for name in QUARANTINE_COLUMNS}
        for name, part, columns in (
            ("index", index, INDEX_COLUMNS),
            ("quarantine", nothing, QUARANTINE_COLUMNS),
        ):
            path = findings.part_file(folder, name, shard)
            tables.write_table(storage, path, part, columns)
        content_of = tables.write_tensors(storage, findings.values_file(folder, shard), tensors)
        results = {
            **{"values": values, "values_digest": keys.digest(content_of), "label_pixels": []},
            **{"indexed": rows, "labelled": 0, "pixels": rows * PIXELS, "largest": PIXELS},
            **{"quarantined": 0, "highest_label": -1, "bad_label": None, "unnamed_void": 0},
            "further": {},
        }
        folder.record(Record(shard, (first, last), 0, f"{shard:032x}", {"read": 0.1}, {}, results))


def corpus_stage(place: Path, count: int) -> Stage:
    """The stage corpus as planned, but for the work itself."""
    folder = Workspace.open(str(place / "ws")).corpus(DUMP)
    manifest = {"stage": "corpus", "dump": DUMP, "values_before": []}
    for file in (layout.FACTS_FILE, layout.PLAN):
        manifest |= folder.storage.document(f"{folder.path}/{file}") or {}
    shards = shard_count(count, corpus.SHARD_IMAGES)
    return Stage(folder, f"corpus {DUMP}", "images", count, shards, Nothing(), manifest)


def finish_corpus(place: Path, stage: Stage) -> None:
    corpus.finish(Workspace.open(str(place / "ws")), stage, 1.0, stage.shards)


def masks_stage(place: Path, count: int) -> Stage:
    """The stage masks as planned, but for the work itself."""
    workspace = Workspace.open(str(place / "ws"))
    folder = workspace.folder(layout.masks(MASKS_KEY, DUMP))
    manifest = {
        "stage": "masks",
        "version": MASKS_VERSION,
        "dump": DUMP,
        "inputs": {"head": HEAD_KEY},
    }
    shards = shard_count(count, masks.SHARD_IMAGES)
    return Stage(folder, f"masks {DUMP}", "images", count, shards, Nothing(), manifest)


def record_masks(place: Path, count: int) -> None:
    """Every shard's record."""
    stage, random = masks_stage(place, count), np.random.default_rng(0)
    shares = random.dirichlet(np.full(CLASSES, 0.3), count)
    for shard in range(stage.shards):
        rows = range(shard * masks.SHARD_IMAGES, min((shard + 1) * masks.SHARD_IMAGES, count))
        sums = {}
        for row in rows:
            pixels = (shares[row] * PIXELS).astype(np.int64)
            sums[row] = MarginSums(pixels, pixels // 9, 0.9 * pixels, -2.5 * pixels)
        results = {
            "masks": len(rows),
            **MarginSums.total(sums.values(), CLASSES).document(),
            "flicker": [0, 0, 0],
            "confidence": confidence_table.packed(sums),
        }
        span = (rows.start, rows.stop)
        stage.folder.record(Record(shard, span, 0, f"{shard:032x}", {"refine": 1.0}, {}, results))


def finish_masks(place: Path, stage: Stage) -> None:
    masks.finish(Workspace.open(str(place / "ws")), stage, 1.0, stage.shards)


def complete(place: Path) -> None:
    """What a status and the explorer read besides."""
    workspace = Workspace.open(str(place / "ws"))
    clusters = {"options": {"classes": CLASSES}, "classes": CLASSES, "backbone": {"name": "none"}}
    workspace.folder(layout.clusters(CLUSTERS_KEY)).finish(clusters)
    current = {"keys": {"clusters": CLUSTERS_KEY, "masks": MASKS_KEY}, "options": {}, "dumps": []}
    workspace.storage.write(layout.CURRENT_FILE, json.dumps(current).encode())


def show_status(place: Path) -> None:
    status.document(Summary(Workspace.open(str(place / "ws"))))


def first_page(place: Path) -> None:
    workspace = Workspace.open(str(place / "ws"))
    Explorer(workspace)
    gallery.overview(workspace)
    gallery.page(workspace)


class Nothing:
    """In place of a stage's work."""

    def steps(self) -> list[Any]:
        return []


MEASURED: dict[str, Callable[[Path, int], Callable[[], Any]]] = {
    "listing": lambda place, _: lambda: plan_corpus(place),
    "index: end": lambda place, count: partial(finish_corpus, place, corpus_stage(place, count)),
    "plan of a finished dump": lambda place, _: lambda: plan_corpus(place),
    "missing shards": lambda place, count: masks_stage(place, count).partitions,
    "masks: end": lambda place, count: partial(finish_masks, place, masks_stage(place, count)),
    "status": lambda place, _: lambda: show_status(place),
    "explorer: first page": lambda place, _: lambda: first_page(place),
}
"""What is measured, in order: prepared first, then called."""
BEFORE: dict[str, Callable[[Path, int], None]] = {
    "listing": lambda place, count: write_files(place / "images", count),
    "index: end": record_corpus,
    "missing shards": record_masks,
    "status": lambda place, _: complete(place),
}
"""What is made before that, unmeasured."""


def measure(name: str, place: Path, count: int) -> dict[str, float]:
    """Seconds and bytes beyond the imports, in this process."""
    work = MEASURED[name](place, count)
    begun = time.perf_counter()
    with memory.watched() as peak:
        work()
    return {"seconds": time.perf_counter() - begun, "bytes": max(peak.own - peak.first, 0)}


def measured(name: str, place: Path, count: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(place), "--counts", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def exponent(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """Between the two largest counts."""
    (a, b), (s, t) = counts[-2:], seconds[-2:]
    return math.log(t / s) / math.log(b / a)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "PLACE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        name, place = chosen.measure
        print(json.dumps(measure(name, Path(place), chosen.counts[0])))
        return
    before = harness.machine()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MEASURED}
    for count in chosen.counts:
        with harness.scratch(chosen) as place:
            for name in MEASURED:
                BEFORE.get(name, lambda *_: None)(place, count)
                found[name].append(measured(name, place, count))
                figures = "{seconds:8.2f} s {bytes:14,.0f} bytes".format(**found[name][-1])
                print(f"{count:>9,} images  {name:<26}{figures}", flush=True)
    show(chosen.counts, found, before)


def show(
    counts: Sequence[int], found: dict[str, list[dict[str, float]]], before: dict[str, Any]
) -> None:
    """Table and file."""
    print(f"\n{'':<26}" + "".join(f"{count:>24,}" for count in counts) + "  exponent  memory grows")
    for name, parts in found.items():
        cells = "".join(
            f"{each['seconds']:>13.2f} s {each['bytes'] / MIB:>4.0f} MiB" for each in parts
        )
        print(f"{name:<26}{cells}", end="")
        if len(counts) > 1:
            power = exponent(counts, [each["seconds"] for each in parts])
            grown = (parts[-1]["bytes"] - parts[-2]["bytes"]) / MIB
            print(f"{power:>10.2f}{grown:>10.0f} MiB", end="")
        print()
    harness.write(
        "scale_images", {"counts": counts, "measured": found, "machine": before, "limits": LIMITS}
    )


if __name__ == "__main__":
    main()
