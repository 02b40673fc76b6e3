"""A new dump's seconds where nothing, as much, or four times as much lies in the workspace.

    python benchmarks/backfill.py --images DIR --weights FILE --limit 60

Dumps of n images go through the real flows of the stages corpus, features, neighbours and masks
with one head and one set of clusters: the first dump into an empty workspace ("0x"), one where n
images are there ("1x"), one where 4n are ("4x"). All dumps show the same images, those of dump j
moved j pixels to the side, so that none is a duplicate and all are equally hard. Head and clusters
are made from the first dump and not timed. Before anything is timed, a few images go through all
stages in another workspace, and workers hold the backbone.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import harness
import numpy as np
from harness import Headline, Row
from PIL import Image

GOAL = 1.15
STAGES = ("corpus", "features", "neighbors", "masks")
TIMED = {0: "0x", 1: "1x", 4: "4x"}
"""Dump by its number, which is also how many dumps are there before it."""
WARM_UP = 8
"""Images that go through all stages before anything is timed."""


class Options(NamedTuple):
    """Options of the stages."""

    features: Any
    neighbors: Any
    head: Any
    clusters: Any
    masks: Any
    compute: Any


def options_of(chosen: argparse.Namespace, images: int) -> Options:
    from tasks import options as o

    return Options(
        o.FeaturesOptions(**harness.backbone_options(chosen)),
        o.NeighborsOptions(k=min(30, images)),
        o.HeadOptions(steps=chosen.steps, seed=chosen.seed),
        o.ClustersOptions(classes=chosen.classes, restarts=3, seed=chosen.seed),
        o.MasksOptions(),
        o.ComputeOptions(workers=chosen.workers, device=chosen.device),
    )


def moved(files: Sequence[Path], folder: Path, pixels: int) -> Path:
    """The images moved to the right by some pixels; what leaves comes back on the left."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        with Image.open(file) as image:
            shifted = np.roll(np.asarray(image.convert("RGB")), pixels, axis=1)
        Image.fromarray(shifted).save(folder / f"{number:05d}.png")
    return folder


def add_dump(
    place: str, name: str, images: Path, options: Options, backbone: dict[str, Any], label: bool
) -> Iterator[tuple[str, float]]:
    """One dump through the stages, as `stego backfill` takes it; seconds by stage.

    Head and clusters are made where there are none yet; they are not timed.
    """
    from flows import stages
    from tasks.options import CorpusOptions
    from tasks.workspace.workspace import Workspace

    run = options.compute
    begun = time.perf_counter()
    stages.corpus_flow(place, name, CorpusOptions(images=str(images)))
    yield "corpus", time.perf_counter() - begun

    begun = time.perf_counter()
    features = stages.features_flow(place, name, options.features, run, backbone)
    yield "features", time.perf_counter() - begun

    workspace = Workspace.open(place)
    dumps = workspace.dumps()
    begun = time.perf_counter()
    table = stages.neighbors_flow(place, name, features, dumps, options.neighbors, run)
    yield "neighbors", time.perf_counter() - begun

    if not label:
        return
    first = dumps[0]
    if first == name:
        head = stages.head_flow(place, features, table, [first], options.head, run)
        clusters = stages.clusters_flow(place, features, head, [first], options.clusters, run)
        workspace.settle(keys={"clusters": clusters})
    clusters = workspace.current()["keys"]["clusters"]
    begun = time.perf_counter()
    stages.masks_flow(place, name, clusters, options.masks, run)
    yield "masks", time.perf_counter() - begun


def prepare_worker(storage: Any, spec: Any, device: str) -> None:
    """Import what shards need and build the backbone; for every worker."""
    import plain

    from tasks import machine, model

    for name in plain.WORK:
        __import__(name)
    with machine.one_thread():
        model.backbone(storage, spec, device)


def measured(files: Sequence[Path], folder: Path, options: Options) -> dict[int, dict[str, float]]:
    """Seconds by timed dump and stage, in a new workspace."""
    from flows.session import session
    from tasks import compute, machine, model
    from tasks.options import StorageOptions
    from tasks.workspace.workspace import Workspace

    place = str(folder / "workspace")
    seconds: dict[int, dict[str, float]] = {}
    workspace = Workspace.create(place)
    with session(place, StorageOptions(), options.compute):
        f = options.features
        spec = model.bring(workspace, f.backbone, f.weights or model.TIMM, f.layer)
        device = machine.worker_device(options.compute)
        with compute.executor(options.compute) as executor:
            executor.client.run(prepare_worker, workspace.storage, spec, device)
        for number in range(max(TIMED) + 1):
            images = moved(files, folder / f"dump-{number}", number)
            parts = dict(
                add_dump(
                    place, images.name, images, options, spec.document(), label=number in TIMED
                )
            )
            if number in TIMED:
                seconds[number] = parts
                print(f"{TIMED[number]}: {sum(parts.values()):.1f} s", flush=True)
    return seconds


def main() -> None:
    made = harness.parser(__doc__, images=60, workers=2)
    made.add_argument("--classes", type=int, default=7, help="clusters")
    chosen = made.parse_args()
    with harness.scratch(chosen) as folder:
        from tasks import compute

        files = harness.found_images(chosen, folder)
        options = options_of(chosen, len(files))
        before = harness.machine()
        with compute.executor(options.compute):  # the same workers for all workspaces
            warm_up(files[:WARM_UP], folder / "warm-up", chosen)
            runs = [measured(files, folder / str(n), options) for n in range(chosen.repeats)]
    show(chosen, len(files), runs, before)


def warm_up(files: Sequence[Path], folder: Path, chosen: argparse.Namespace) -> None:
    """Start what starts once: Prefect's server, workers, libraries."""
    from tasks import model
    from tasks.workspace.workspace import Workspace

    options = options_of(chosen, len(files))
    place = str(folder / "workspace")
    f = options.features
    spec = model.bring(Workspace.create(place), f.backbone, f.weights or model.TIMM, f.layer)
    images = moved(files, folder / "images", 0)
    for _ in add_dump(place, "warm-up", images, options, spec.document(), label=True):
        pass


def show(
    chosen: argparse.Namespace,
    count: int,
    runs: list[dict[int, dict[str, float]]],
    before: dict[str, Any],
) -> None:
    """Table and file."""
    rows, ratios = [], {}
    for number, name in TIMED.items():
        if number == 0:
            continue
        for stage in STAGES:
            ours, first = ([run[n][stage] for run in runs] for n in (number, 0))
            rows.append(Row(f"{name} {stage}", ours, first, "s"))
        ours, first = ([sum(run[n].values()) for run in runs] for n in (number, 0))
        rows.append(Row(f"{name} total", ours, first, "s"))
        ratios[name] = rows[-1].ratio
    notes = [
        f"{name} to the first dump: {ratio:.3f} (goal: at most {GOAL})"
        for name, ratio in ratios.items()
    ]
    notes += [
        f"dumps of {count} images each: the same ones, moved by a pixel from dump to dump",
        "Prefect's part of each stage is in all figures",
    ]
    harness.report(
        "backfill",
        ("new dump", "first dump (0x)"),
        rows,
        Headline(rows[-1], 1 / GOAL, "not compared: the dumps' images differ by some pixels"),
        harness.data_of(chosen, count),
        before,
        notes,
    )


if __name__ == "__main__":
    sys.exit(main())
