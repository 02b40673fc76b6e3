"""The quality suite: what a change of the defaults does to the scores of several labelled corpora.

    python benchmarks/quality.py [CORPUS_DIR...] --seeds 3 [--limit N] [any option of `stego run`]
    python benchmarks/quality.py corpora/* --published --backbone NAME --weights FILE

A corpus folder holds `imgs/` or `images/`, `labels/` (same stems) and `taxonomy.json`. On each of
them the product itself runs, `stego run --seeds`, so CRF, matching and scores are those that users
get; as many clusters as the taxonomy has classes, unless `--classes` says otherwise. Without a
corpus, 120 generated scenes are scored with the demo's options. The table has the mean over the
seeds, their standard deviation and the worst seed: of STEGO, of k-means on the raw features, and
with `--published` of the published recipe, whose heads are trained on the same stored features.
The last rows are means over the corpora. No label takes part in training; the images that are
scored are those that were trained on. Judge a change by the mean of three seeds or more, and with
all corpora: single ones differ by a point or two from seed to seed.

With `--keep DIR` the workspaces stay there, and the same command goes on where it was stopped.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np

from flows.demo.demo_corpus import SIDE, STEPS, write_corpus
from tasks.features.backbones import BUNDLED, BUNDLED_BACKBONE
from tasks.storage.storage import Storage

METHODS = {"STEGO": "", "many-to-one": "many_", "k-means": "baseline_"}
"""Rows of the table, and how the names of their figures begin in the spread of scores."""
PUBLISHED = "recipe stego"
"""The row of the published recipe."""
SCENES = 120
"""Generated scenes, of the demo's seed."""
DEMO = (
    *("--backbone", BUNDLED_BACKBONE, "--weights", BUNDLED, "--crops", "whole"),
    *("--crop-size", str(SIDE), "--steps", str(STEPS), "--resolution", str(SIDE)),
)
"""The demo's options."""
FIGURES = ("accuracy", "miou")
STATISTICS = ("mean", "std", "least")

Figures = dict[str, dict[str, dict[str, float | None]]]
"""Mean, std and least by method and figure, in percent."""


def parsed(arguments: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The suite's own arguments, and those that go to `stego run` as they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="*", type=Path, help="folders, as above")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--published", action="store_true", help="score the published recipe too")
    parser.add_argument("--limit", type=int, help="images of each corpus, spread evenly")
    parser.add_argument("--keep", type=Path, help="folder for the workspaces; default: none stays")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    return parser.parse_known_args(arguments)


def images_of(corpus: Path) -> Path:
    """The folder of a corpus' images.

    Ends the script with a sentence where a part of the corpus is missing.
    """
    folders = [corpus / name for name in ("imgs", "images") if (corpus / name).is_dir()]
    missing = [name for name in ("labels", "taxonomy.json") if not (corpus / name).exists()]
    if not folders or missing:
        wanted = ", ".join([*missing, *([] if folders else ["imgs"])])
        sys.exit(f"error: {corpus} is no corpus: it lacks {wanted}")
    return folders[0]


def files_of(corpus: Path) -> list[Path]:
    """A corpus' images in order of their names."""
    return sorted(p for p in images_of(corpus).rglob("*") if p.suffix.lower() in harness.ENDINGS)


def sample(corpus: Path, files: Sequence[Path], limit: int, folder: Path) -> Path:
    """A corpus of at most `limit` of these images and their labels, spread evenly; made once."""
    if folder.exists():
        return folder
    unfinished = folder.with_name(folder.name + "-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in ("imgs", "labels"):
        (unfinished / name).mkdir(parents=True)
    for place in np.linspace(0, len(files) - 1, min(limit, len(files))).astype(int):
        shutil.copy(files[place], unfinished / "imgs")
        shutil.copy(corpus / "labels" / f"{files[place].stem}.png", unfinished / "labels")
    shutil.copy(corpus / "taxonomy.json", unfinished)
    unfinished.rename(folder)
    return folder


def stego(*arguments: str) -> str:
    """Run a command of the product; returns what it printed to stdout."""
    command = [sys.executable, "-m", "flows", *arguments]
    ended = subprocess.run(command, cwd=harness.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout


def scenes(folder: Path) -> Path:
    """A corpus of generated scenes."""
    write_corpus(Storage.at(str(folder)), SCENES, 0)
    return folder


def scored(
    corpus: Path, workspace: Path, chosen: argparse.Namespace, options: list[str]
) -> Figures:
    """The figures of a corpus over the seeds 0, 1, …"""
    found = figures_of(spread(corpus, workspace, chosen.seeds, options))
    if chosen.published:
        options = [*options, "--recipe", "stego", "--no-baseline"]
        found[PUBLISHED] = figures_of(spread(corpus, workspace, chosen.seeds, options))["STEGO"]
    return found


def spread(corpus: Path, workspace: Path, seeds: int, options: list[str]) -> dict[str, Any]:
    """The spread of a corpus' scores over the seeds, as `stego status --json` has it."""
    place = ("--workspace", str(workspace))
    given = ("--images", str(images_of(corpus)), "--labels", str(corpus / "labels"))
    stego(
        *("run", *given, "--taxonomy", str(corpus / "taxonomy.json"), "--dump", "corpus", *place),
        *("--seeds", ",".join(map(str, range(seeds))), "--no-overlays", "--no-linear-probe"),
        *options,
    )
    found: dict[str, Any] = json.loads(stego("status", "--json", *place))["spread"]["corpus"]
    return found


def figures_of(spread: dict[str, Any]) -> Figures:
    """The figures of each method that was scored."""
    return {
        method: {figure: {s: spread[prefix + figure][s] for s in STATISTICS} for figure in FIGURES}
        for method, prefix in METHODS.items()
        if f"{prefix}miou" in spread
    }


def means(found: dict[str, Figures]) -> Figures:
    """Means over the corpora of means and standard deviations; the least of the worst."""
    merge: dict[str, Any] = {"mean": np.mean, "std": np.mean, "least": np.min}
    methods = dict.fromkeys(itertools.chain(METHODS, *found.values()))
    together: Figures = {method: {figure: {} for figure in FIGURES} for method in methods}
    for method, figure, name in itertools.product(methods, FIGURES, STATISTICS):
        values = [each[method][figure][name] for each in found.values() if method in each]
        known = bool(values) and None not in values
        together[method][figure][name] = round(float(merge[name](values)), 2) if known else None
    return together


def printed(name: str, figures: Figures) -> None:
    """The rows of one corpus."""
    for method, table in figures.items():
        cells = [table[figure][part] for figure in FIGURES for part in STATISTICS]
        text = "".join(f"{'–' if value is None else f'{value:.1f}':>9}" for value in cells)
        print(f"{name:14}{method:14}{text}", flush=True)


def main() -> None:
    chosen, options = parsed()
    before, found = harness.machine(), dict[str, Figures]()
    with harness.scratch(chosen) as folder:
        root = (chosen.keep or folder).resolve()
        root.mkdir(parents=True, exist_ok=True)
        options = options if chosen.corpora else [*DEMO, *options]
        for corpus in map(Path.resolve, chosen.corpora or [scenes(root / "scenes")]):
            name = f"{corpus.name}-{chosen.limit}" if chosen.limit else corpus.name
            files, limit = files_of(corpus), chosen.limit
            images = sample(corpus, files, limit, root / name) if limit else corpus
            found[corpus.name] = scored(images, root / f"{name}-workspace", chosen, options)
    print(f"{'':28}{'accuracy':>9}{'std':>9}{'worst':>9}{'mIoU':>9}{'std':>9}{'worst':>9}")
    for name, figures in {**found, "all": means(found)}.items():
        printed(name, figures)
    data = {"seeds": chosen.seeds, "limit": chosen.limit, "options": options}
    parts = {"data": data, "corpora": found, "all": means(found), "machine": before}
    harness.write("quality", {**parts, "versions": harness.versions_of(harness.PACKAGES)})


if __name__ == "__main__":
    main()
