"""Every benchmark, one after another, on the images given: `make bench` runs this.

    python benchmarks/bench.py --images DIR --photos DIR --weights FILE --layer 8

`--images` is the corpus: of the workspace that some benchmarks read, made once, and of those that
run stages. `--photos` are labelled. Without images there are generated scenes; without weights the
workspace has the bundled backbone, and each benchmark the one of its own. A benchmark that fails
holds up no other; the command ends with 1 then.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import harness
import plain

SCENES = 40
CLASSES = 27
DUMP = "images"


class Bench(NamedTuple):
    """One script of this folder.

    Attributes:
        script: its name.
        given: what it is told of `arguments_of`.
        files: the results that it writes; by default one of its own name.
    """

    script: str
    given: tuple[str, ...]
    files: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        return self.files or (self.script,)


BENCHES = (
    Bench("head", ("images", "backbone", "layer", "limit")),
    Bench("features", ("images", "backbone", "limit")),
    Bench("neighbors", (), ("neighbors-exact", "neighbors-approximate")),
    Bench("clustering", ("workspace",)),
    Bench("crf", ("workspace", "photos", "limit")),
    Bench("masks", ("workspace", "photos", "limit")),
    Bench("growth", ("images", "backbone", "layer", "limit")),
    Bench("overhead", ("images", "labels", "backbone", "layer", "limit")),
)


def arguments_of(chosen: argparse.Namespace, workspace: Path) -> dict[str, list[str]]:
    """Arguments by what they are about; none where nothing was given."""

    def flags(**values: Any) -> list[str]:
        given = {name: value for name, value in values.items() if value is not None}
        return [part for name, value in given.items() for part in (f"--{name}", str(value))]

    return {
        "images": flags(images=chosen.images),
        "labels": flags(labels=chosen.labels, taxonomy=chosen.taxonomy),
        "photos": flags(images=chosen.photos or chosen.images),
        "workspace": flags(workspace=workspace),
        "backbone": flags(backbone=chosen.backbone, weights=chosen.weights),
        "layer": flags(layer=chosen.layer),
        "limit": flags(limit=chosen.limit),
        "always": flags(repeats=chosen.repeats, scratch=chosen.scratch),
    }


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of images; default: generated scenes")
    parser.add_argument("--labels", type=Path, help="folder of their labels")
    parser.add_argument("--taxonomy", type=Path, help="JSON file of class names")
    parser.add_argument("--photos", type=Path, help="folder of photographs; default: the images")
    parser.add_argument("--backbone", help="timm's name; needed with --weights")
    parser.add_argument("--weights", type=located, help="weights file")
    parser.add_argument("--layer", type=int, help="block that is read; default: the last")
    parser.add_argument("--limit", type=int, help="images taken; default: each script's own")
    parser.add_argument("--steps", type=int, default=400, help="training steps of the workspace")
    parser.add_argument("--seed", type=int, default=0, help="of scenes, head and clusters")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    parser.add_argument("--only", nargs="+", metavar="SCRIPT", help="by name; default: all")
    parser.set_defaults(scenes=SCENES)
    chosen = parser.parse_args(arguments)
    if chosen.weights and not chosen.backbone:
        parser.error("--weights need the --backbone that they are of")
    return chosen


def located(text: str) -> str:
    """An existing file by its whole path: scripts start others elsewhere."""
    return str(Path(text).resolve()) if Path(text).exists() else text


def main() -> None:
    chosen = parsed()
    benches = [bench for bench in BENCHES if bench.script in (chosen.only or [bench.script])]
    begun, failed = time.time(), []
    with harness.scratch(chosen) as folder:
        files = harness.found_images(chosen, folder)
        if chosen.images is None:
            root = folder / "scenes"
            chosen.images, chosen.labels = root / "images", root / "labels"
            chosen.taxonomy = root / "taxonomy.json"
        workspace = folder / "workspace"
        if any("workspace" in bench.given for bench in benches):
            make_workspace(chosen, files, folder, workspace)
        arguments = arguments_of(chosen, workspace)
        for bench in benches:
            print(f"\n=== {bench.script}", flush=True)
            script = str(Path(__file__).with_name(f"{bench.script}.py"))
            given = [part for name in (*bench.given, "always") for part in arguments[name]]
            if subprocess.run([sys.executable, script, *given]).returncode:
                failed.append(bench.script)
    summary([row for bench in benches for row in bench.rows], begun)
    sys.exit(f"error: failed: {', '.join(failed)}" if failed else None)


def make_workspace(
    chosen: argparse.Namespace, files: list[Path], folder: Path, place: Path
) -> None:
    """The stages from corpus to clusters, for all benchmarks that need them."""
    from flows.runs import pipeline, stages
    from flows.runs.settings import PipelineOptions
    from tasks import options as o
    from tasks.engine import compute
    from tasks.features import backbones
    from tasks.workspace.workspace import Workspace

    weights = {"backbone": backbones.BUNDLED_BACKBONE, "weights": backbones.BUNDLED}
    backbone = harness.backbone_options(chosen) if chosen.weights else weights
    images = harness.copied(files, folder / DUMP)
    options = PipelineOptions(
        corpus=o.CorpusOptions(images=str(images)),
        features=o.FeaturesOptions(**backbone),
        neighbors=o.NeighborsOptions(k=min(30, len(files))),
        head=o.HeadOptions(steps=chosen.steps, seed=chosen.seed),
        clusters=o.ClustersOptions(classes=CLASSES, seed=chosen.seed),
    )
    print(f"=== workspace of {len(files)} images", flush=True)
    with (
        compute.executor(options.compute) as executor,
        plain.without_prefect(plain.run_on(executor)),
    ):
        workspace = Workspace.create(str(place))
        stages.corpus_flow(workspace, DUMP, options.corpus)
        keys, tables = pipeline.train(workspace, [DUMP], options)
        pipeline.make_current(workspace, keys, tables, options)


def summary(rows: list[str], begun: float) -> None:
    """One line for each result of this run."""
    print(f"\n{'':24}{'ours':>12}{'reference':>12}  {'unit':20}{'ratio':>8}{'goal':>8}")
    for row in rows:
        path = harness.RESULTS / f"{row}.json"
        if not path.exists() or path.stat().st_mtime < begun:
            print(f"{row:24}no result")
            continue
        found = json.loads(path.read_text())
        sides = "".join(f"{found[side]['median']:12.3f}" for side in ("ours", "reference"))
        goal = found.get("goal")
        told = f"{goal:8.2f}" if goal else f"{'–':>8}"
        missed = "  missed" if goal and found["ratio"] < goal else ""
        print(f"{row:24}{sides}  {found['unit']:20}{found['ratio']:8.2f}{told}{missed}")
    print("ratios above 1: ours is better; each file has all figures: benchmarks/results/")


if __name__ == "__main__":
    main()
