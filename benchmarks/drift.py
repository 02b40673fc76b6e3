"""After a drift: is a dump that looks different told, and what does `stego retrain` do for it?

    python benchmarks/drift.py OLD:NEW [OLD:NEW...] --seeds 2 --limit 60 [any option of `stego run`]

OLD and NEW are corpus folders as in quality.py. Of each pair and seed the product itself runs:
`stego run` on one half of OLD's images, `stego backfill` with the other half, which has not
drifted, then with NEW, and `stego retrain` on the old half and NEW. In a workspace of its own,
`stego run` sees NEW alone. The table has both dumps' drift (features / shares, * where told as
drifted) and the mIoU in percent, per seed and on average: of the old dump before and after the
retraining, of the new dump before, after, and alone. At most `--limit` images of each dump, spread
evenly; the images that are scored are those that were trained on.

With `--keep DIR` the workspaces stay there, and the same command goes on where it was stopped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import harness
import numpy as np
from quality import files_of, sample, stego

QUICK = ("--no-overlays", "--no-linear-probe", "--no-baseline")
"""What is not looked at."""
COLUMNS = ("old before", "old after", "change", "new before", "new after", "alone", "short of")
DRIFTS = ("drift of half", "drift of new")

Figures = dict[str, Any]


def parsed() -> tuple[argparse.Namespace, list[str]]:
    """The script's own arguments, and those that go to `stego run` as they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="+", metavar="OLD:NEW", help="corpus folders, as above")
    parser.add_argument("--seeds", type=int, default=2, help="how many, from 0 on")
    parser.add_argument("--limit", type=int, default=60, help="images of each dump")
    parser.add_argument("--executor", default="loop", help="of all commands, loop or dask")
    parser.add_argument("--keep", type=Path, help="folder for the workspaces; default: none stays")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    return parser.parse_known_args()


def corpus_options(corpus: Path, dump: str) -> list[str]:
    """The options that name a corpus and its dump."""
    paths = {"images": corpus / "imgs", "labels": corpus / "labels"}
    given = {**paths, "taxonomy": corpus / "taxonomy.json", "dump": dump}
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def status(workspace: Path) -> Figures:
    """What `stego status --json` says."""
    document: Figures = json.loads(stego("status", "--json", "--workspace", str(workspace)))
    return document


def miou(document: Figures, dump: str) -> float:
    """The mIoU of a dump, percent."""
    return float(document["scores"][dump]["miou"])


def alone(corpus: Path, workspace: Path, executor: str, options: list[str]) -> float:
    """The mIoU of a run on one corpus."""
    place = ("--workspace", str(workspace), "--executor", executor)
    stego("run", *corpus_options(corpus, "new"), *place, *QUICK, *options)
    return miou(status(workspace), "new")


def measured(
    dumps: dict[str, Path], workspace: Path, kept: Path, executor: str, options: list[str]
) -> Figures:
    """The figures of a pair before and after a retraining, kept in a file. All seeds have one
    workspace, so that features are computed once.
    """
    if kept.exists():
        found: Figures = json.loads(kept.read_text())
        return found
    place = ("--workspace", str(workspace), "--executor", executor)
    stego("run", *corpus_options(dumps["old"], "old"), *place, *QUICK, *options)
    for dump in ("half", "new"):
        stego("backfill", *corpus_options(dumps[dump], dump), *place)
    before = status(workspace)
    stego("retrain", "--dumps", "old,new", *place)
    after = status(workspace)
    found = {
        **{f"drift of {dump}": before["dumps"][dump]["drift"] for dump in ("half", "new")},
        **{f"{dump} before": miou(before, dump) for dump in ("old", "new")},
        **{f"{dump} after": miou(after, dump) for dump in ("old", "new")},
    }
    kept.write_text(json.dumps(found))
    return found


def pair(
    old: Path, new: Path, root: Path, chosen: argparse.Namespace, options: list[str]
) -> list[Figures]:
    """The figures of a pair, by seed."""
    files, limit, name = files_of(old), chosen.limit, f"{old.name}-{new.name}-{chosen.limit}"
    dumps = {
        dump: sample(old, files[first::2], limit, root / f"{old.name}-{limit}-{dump}")
        for first, dump in enumerate(("old", "half"))
    }
    dumps["new"] = sample(new, files_of(new), limit, root / f"{new.name}-{limit}-new")
    found = []
    for seed in range(chosen.seeds):
        run = [*options, "--seed", str(seed)]
        kept = root / f"{name}-{seed}.json"
        figures = measured(dumps, root / name, kept, chosen.executor, run)
        workspace = root / f"{new.name}-{limit}-alone"
        figures["alone"] = alone(dumps["new"], workspace, chosen.executor, run)
        figures["change"] = round(figures["old after"] - figures["old before"], 2)
        figures["short of"] = round(figures["alone"] - figures["new after"], 2)
        printed(f"{old.name} → {new.name}", str(seed), figures)
        found.append(figures)
    return found


def printed(name: str, seed: str, figures: Figures) -> None:
    """A row of the table."""
    drifts = "".join(f"{_drift(figures[column]):>17}" for column in DRIFTS if column in figures)
    cells = "".join(f"{figures[column]:>11.1f}" for column in COLUMNS)
    print(f"{name:26}{seed:>5}{drifts or ' ' * 34}{cells}", flush=True)


def _drift(drift: Figures) -> str:
    return f"{drift['features']:.2f} / {drift['shares']:.3f}{'*' if drift['drifted'] else ' '}"


def main() -> None:
    chosen, options = parsed()
    before, found = harness.machine(), dict[str, list[Figures]]()
    heads = "".join(f"{name:>17}" for name in DRIFTS)
    print(f"{'':26}{'seed':>5}{heads}{''.join(f'{name:>11}' for name in COLUMNS)}")
    with harness.scratch(chosen) as folder:
        root = (chosen.keep or folder).resolve()
        root.mkdir(parents=True, exist_ok=True)
        for text in chosen.pairs:
            old, new = (Path(name).resolve() for name in text.split(":"))
            rows = pair(old, new, root, chosen, options)
            found[f"{old.name} → {new.name}"] = rows
            means = {column: float(np.mean([row[column] for row in rows])) for column in COLUMNS}
            printed(f"{old.name} → {new.name}", "mean", means)
    data = {"seeds": chosen.seeds, "limit": chosen.limit, "options": options}
    parts = {"data": data, "pairs": found, "machine": before}
    harness.write("drift", {**parts, "versions": harness.versions_of(harness.PACKAGES)})


if __name__ == "__main__":
    main()
