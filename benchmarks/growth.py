"""How the pipeline's time, and the memory of its main process, grow with the corpus.

    python benchmarks/growth.py --images DIR --weights FILE --layer 8

`python -m flows run`, with Prefect, Dask and records, on 1, 2, 4 and 8 times the images: the same
ones under new names. An exponent is the e of seconds = c · images^e, fitted on log-log axes. The
headline is that of the stages whose work grows with every image, together: corpus, features,
clusters (up to `--max-tokens`) and masks. The head takes the same steps for every corpus, and the
report shows as many images; neighbors compares all crops with each other, which is quadratic with
a small factor. They are shown beside, in no headline.

What a process does once (imports, Prefect's server, workers) is in no stage. Memory is that of the
main process, which plans and follows the work; workers hold a shard each, and are not in it.
"""

import argparse
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import harness
import numpy as np
import overhead
from harness import Headline, Row
from overhead import Run

GROWING = ("corpus", "features", "clusters", "masks")
APART = "neighbors"
EXPONENT = 1.05
SPREAD = 0.1
MIB = 2**20

Runs = dict[int, list[Run]]
"""Runs by the number of images."""


def repeated(files: Sequence[Path], folder: Path, times: int) -> Path:
    """A folder with each image so many times, under different names."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        for copy in range(times):
            shutil.copyfile(file, folder / f"{number:05d}-{copy}{file.suffix}")
    return folder


def alike(workspace: Path) -> bool:
    """Whether copies of an image have the same mask, byte for byte, and every image has one."""
    masks = defaultdict(list)
    for mask in (workspace / "masks").rglob("*.png"):
        masks[mask.stem.partition("-")[0]].append(mask.read_bytes())
    copies = {len(group) for group in masks.values()}
    return len(copies) == 1 and all(len(set(group)) == 1 for group in masks.values())


def exponent(images: Sequence[int], seconds: Sequence[float]) -> float:
    """e of the least-squares line log seconds = log c + e · log images."""
    return float(np.polyfit(np.log(images), np.log(seconds), 1)[0])


def seconds_of(names: Sequence[str]) -> Callable[[Run], float]:
    """Seconds of some stages together, of a run."""
    return lambda run: sum(run.stages[name] for name in names)


def measured(chosen: argparse.Namespace, files: list[Path], folder: Path) -> tuple[Runs, bool]:
    """The runs, and whether copies were labelled alike in all of them."""
    runs, same = defaultdict(list), True
    for repeat in range(chosen.repeats):
        for times in chosen.times:
            place = folder / f"run-{repeat}-{times}"
            images = repeated(files, folder / f"images-{repeat}-{times}", times)
            options = options_of(chosen, images, min(8, len(files)))
            run = overhead.orchestrated(chosen, options, place)
            runs[times * len(files)].append(run)
            same = same and alike(place)
            told = f"{seconds_of(GROWING)(run):.1f} s, whole process {run.process:.1f} s"
            print(f"{times} × {len(files)} images: {told}", flush=True)
            shutil.rmtree(place)
            shutil.rmtree(images)
    return dict(runs), same


def options_of(chosen: argparse.Namespace, images: Path, k: int) -> dict[str, Any]:
    return {
        "corpus": {"images": str(images)},
        "features": harness.backbone_options(chosen),
        "neighbors": {"k": k},
        "head": {"steps": chosen.steps, "seed": chosen.seed},
        "clusters": {"restarts": chosen.restarts, "seed": chosen.seed},
        "compute": {"workers": chosen.workers, "device": chosen.device},
    }


def main() -> None:
    made = harness.parser(__doc__, images=24, workers=2)
    made.add_argument("--times", type=int, nargs="+", default=(1, 2, 4, 8), help="the images")
    made.add_argument("--restarts", type=int, default=3, help="k-means starts")
    chosen = made.parse_args()
    chosen.limit = chosen.limit or chosen.scenes
    with harness.scratch(chosen) as folder:
        files = harness.found_images(chosen, folder)
        overhead.execute(overhead.DATABASE, {})
        before = harness.machine()
        runs, same = measured(chosen, files, folder)
    show(chosen, len(files), runs, same, before)
    sys.exit(None if same else "error: copies of an image got different masks, or none")


def show(
    chosen: argparse.Namespace, count: int, runs: Runs, same: bool, before: dict[str, Any]
) -> None:
    """Table and file."""
    stages = list(runs[count][0].stages)
    parts: dict[str, Callable[[Run], float]] = {
        "stages that grow": seconds_of(GROWING),
        **{name: seconds_of([name]) for name in stages},
        f"all stages but {APART}": seconds_of([name for name in stages if name != APART]),
        "whole process": lambda run: run.process,
    }

    rounds = list(zip(*runs.values(), strict=True))

    def fitted(part: Callable[[Run], float]) -> list[float]:
        return [exponent(list(runs), list(map(part, row))) for row in rounds]

    rows = [Row(name, fitted(part), [1.0], "exponent") for name, part in parts.items()]
    driver = {images: median(run.peak.own for run in found) for images, found in runs.items()}
    spread = max(driver.values()) / min(driver.values()) - 1
    seconds = {
        name: [median(map(part, found)) for found in runs.values()] for name, part in parts.items()
    }
    notes = [
        f"{'seconds':<28}" + "".join(f"{images:>8} images" for images in runs),
        *(f"{name:<28}" + "".join(f"{s:>15.2f}" for s in own) for name, own in seconds.items()),
        f"{'main process, MiB':<28}" + "".join(f"{held / MIB:>15.0f}" for held in driver.values()),
        f"exponent of the stages that grow: {median(rows[0].ours):.3f} (goal: at most {EXPONENT})",
        f"memory of the main process: {100 * spread:.1f} % between the least and the most "
        f"(goal: at most {100 * SPREAD:.0f} %)",
    ]
    harness.report(
        "growth",
        ("exponent", "linear"),
        rows,
        Headline(
            rows[0],
            1 / EXPONENT,
            f"masks of an image's copies, byte for byte: {'the same' if same else 'DIFFERENT'}",
            (round(max(driver.values())), round(driver[count])),
        ),
        harness.data_of(chosen, count),
        before,
        notes,
        images=list(runs),
        seconds=seconds,
        memory_main_process=list(driver.values()),
        memory_spread=round(spread, 4),
    )


if __name__ == "__main__":
    main()
