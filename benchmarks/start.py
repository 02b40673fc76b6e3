"""Seconds from a command to its first work: help, status, names, a loose image, a whole run.

    python benchmarks/start.py --repeats 5
    python benchmarks/start.py --repeats 5 --before ../another-checkout

- `stego --help`, `stego run --help`, `stego status`, `stego name`: until they end;
- `stego segment`: until the first mask of an image of 32 × 32 is written;
- `stego run`: until the first shard of the stage corpus is on record, and the first of the stage
  features; then it is interrupted. Once with a Prefect home of its own that has a database, and
  once with a new one, where Prefect first makes its database.

Processor seconds are those of the command and of all processes that it started, up to the same
moment; they grow less with other load than the wall does. With `--before`, the code of another
checkout is measured in turns with this one.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import harness
import psutil
from harness import Headline, Row

GOALS = {"--help": 1.0, "run --help": 1.0, "status": 3.0, "name": 3.0, "segment": 3.0, "run": 8.0}
"""Seconds at most, on two cores."""
RUN = (
    *("--backbone", "vit_pico_patch8_conv_64", "--weights", "bundled", "--crops", "whole"),
    *("--crop-size", "64", "--resolution", "64", "--steps", "5", "--classes", "3", "--batch", "2"),
    *("--restarts", "1", "--neighbors", "3", "--crf-iterations", "0"),
)
LOOK_SECONDS = 0.005
PATIENCE_SECONDS = 600


class Start(NamedTuple):
    """Seconds until something was there, and processor seconds up to then."""

    wall: float
    cpu: float


def started(
    root: Path, arguments: Sequence[str], firsts: Sequence[Callable[[], bool]], home: Path
) -> list[Start]:
    """Run a command of a checkout until all of these were there, or to its end where none is."""
    environment = {**os.environ, "PYTHONPATH": str(root), "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    begun, before = time.perf_counter(), os.times()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found = [_until(first, process, begun) for first in firsts]
    if firsts:
        process.send_signal(signal.SIGINT)
    code = process.wait(PATIENCE_SECONDS)
    if code and not firsts:
        sys.exit(f"error: {' '.join(arguments)} ended with {code}; expected 0")
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return found or [Start(time.perf_counter() - begun, used)]


def _until(first: Callable[[], bool], process: "subprocess.Popen[bytes]", begun: float) -> Start:
    while not first():
        if process.poll() is not None or time.perf_counter() - begun > PATIENCE_SECONDS:
            sys.exit("error: the command ended, or took too long, before its first work was done")
        time.sleep(LOOK_SECONDS)
    wall, used = time.perf_counter() - begun, 0.0
    top = psutil.Process(process.pid)
    for each in (top, *top.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            times = each.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return Start(wall, used)


def there(folder: Path, pattern: str) -> Callable[[], bool]:
    """Whether a file of this pattern lies below the folder."""
    return lambda: next(folder.glob(pattern), None) is not None


def measured(
    names: Sequence[str], root: Path, made: Path, images: Path, scratch: Path
) -> dict[str, Start]:
    """Each command once; `made` holds a finished workspace and a Prefect home with a database."""
    home, own = made / "prefect", ("--workspace", str(made / "ws"))
    found = {}
    for name in names:
        if name.endswith("--help"):
            (found[name],) = started(root, name.split(), (), home)
        elif name in ("status", "name"):
            (found[name],) = started(root, [name, *own], (), home)
    if "segment" in names:
        out, one = scratch / "out", next(images.iterdir())
        segment = ["segment", str(one), *own, "--out", str(out)]
        (found["segment"],) = started(root, segment, [there(out, "*.png")], home)
    homes = {"run": home, "run, new database": scratch / "prefect"} if "run" in names else {}
    for name, place in homes.items():
        ws = scratch / name
        command = ["run", "--images", str(images), "--workspace", str(ws), *RUN]
        firsts = [there(ws, f"{kind}/**/records/*.json") for kind in ("corpus", "features")]
        found[name], found[f"{name}, first features"] = started(root, command, firsts, place)
    return found


def main() -> None:
    made = harness.parser(__doc__, images=12, workers=2)
    made.add_argument("--before", type=Path, help="root of another checkout to compare with")
    made.add_argument("--only", action="append", choices=list(GOALS), help="only these commands")
    chosen = made.parse_args()
    roots = [harness.ROOT, *([chosen.before.resolve()] if chosen.before else [])]
    chosen.only = chosen.only or list(GOALS)
    before = harness.machine()
    with harness.scratch(chosen) as folder:
        images = harness.found_images(chosen, folder)[0].parent
        finished = folder / "finished"
        command = ["run", "--images", str(images), "--workspace", str(finished / "ws"), *RUN]
        started(harness.ROOT, command, (), finished / "prefect")
        sides: list[list[dict[str, Start]]] = [[] for _ in roots]
        for repeat in range(chosen.repeats):
            for side in sorted(range(len(roots)), reverse=bool(repeat % 2)):
                scratch = folder / f"{repeat}-{side}"
                scratch.mkdir()
                found = measured(chosen.only, roots[side], finished, images, scratch)
                sides[side].append(found)
                told = ", ".join(f"{name} {each.wall:.2f}" for name, each in found.items())
                print(f"{roots[side].name} {repeat + 1}: {told}", flush=True)
        show(chosen, sides, before)


def show(
    chosen: argparse.Namespace, sides: list[list[dict[str, Start]]], before: dict[str, Any]
) -> None:
    """Table and file."""
    ours, theirs = sides[0], sides[1] if len(sides) > 1 else []
    rows = [
        Row(f"{name}{beside}", *([kind(run[name]) for run in runs] for runs in (ours, theirs)), "s")
        for beside, kind in (("", lambda each: each.wall), (", processor", lambda each: each.cpu))
        for name in ours[0]
    ]
    notes = [f"goal of {name}: {GOALS[name]:.0f} s" for name in chosen.only]
    headline = Headline(rows[0], 1.0, "not compared: times to the first work alone")
    data = harness.data_of(chosen, chosen.limit or chosen.scenes)
    harness.report("start", ("this", "before"), rows, headline, data, before, notes)


if __name__ == "__main__":
    main()
