"""`make pictures`: every picture of docs/images that a program can make, from the demo."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import explorer_pictures  # noqa: E402
import note_charts  # noqa: E402
import report_pictures  # noqa: E402
import teaching_pictures  # noqa: E402

from tasks.workspace.workspace import Workspace  # noqa: E402

BY_HAND = {
    "deployments.png",
    "finished-pipeline.png",
    "home-found.png",
    "home-running.png",
    "nightly-backfill.png",
    "report-artifact.png",
    "running-pipeline.png",
    "running-stage.png",
    "timings.png",
}
"""Pictures of Prefect's pages, and of the home page while something runs: a person takes them."""


def main() -> None:
    """Make the pictures of a finished workspace of the demo, and the charts of the notes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workspace", required=True, help="of `stego demo`")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.open(given.workspace)
    for part in (report_pictures, explorer_pictures, teaching_pictures):
        for path in part.make(workspace, given.out):
            print(f"{path}: {path.stat().st_size // 1000} kB", flush=True)
    for path in note_charts.make(ROOT / "docs" / "notes", given.out):
        print(f"{path}: {path.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    main()
