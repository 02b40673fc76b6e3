"""What orchestration costs: the real pipeline beside the same shards in plain processes.

    python benchmarks/overhead.py --images DIR --weights FILE --workers 2

- pipeline: `python -m flows run`, with Prefect, Dask, records and the workspace's lease;
- plain: the same plans, shards and ends in as many plain processes (`benchmarks/plain.py`).

The overhead is that of the row "all stages", from the first stage's beginning to the report's
end. A stage's seconds run from the end of the stage before it to its own end. Imports are in no
stage, on either side: workers have imported what they need before the first stage begins (Dask's
workers by its setting `distributed.worker.preload`). What start and end cost is told apart below.
Both sides must give the same masks and overlays, byte for byte.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import harness
import memory
import plain
from harness import Headline, Row

GOAL = 0.05
DUMP = "images"
LINE = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ "
    r"(prefect\S*|flows\.reporting\.temporary_server): (.*)"
)
FLAGS = {"k": "neighbors"}
"""Flags that are not named like their option."""
DATABASE = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
"""A person's Prefect has its database already; making one takes seconds."""
SECOND = {
    "clusters": "clusters, raw features",
    "masks": "masks, raw features",
}
"""Names of the stages that run again for the baseline."""


class Run(NamedTuple):
    """Seconds of one run: its stages in order, then what is around them; memory at most."""

    stages: dict[str, float]
    around: dict[str, float]
    process: float
    cpu: float
    peak: memory.Peak


def orchestrated(chosen: argparse.Namespace, options: dict[str, Any], workspace: Path) -> Run:
    """The command line, as a person would run it."""
    flags = {
        name: str(value) for section in options.values() for name, value in section.items()
    } | {"workspace": str(workspace), "dump": DUMP}
    command = [sys.executable, "-m", "flows", "run"]
    for name, value in flags.items():
        command += [f"--{FLAGS.get(name, name).replace('_', '-')}", value]
    preload = json.dumps(list(plain.WORK))
    begun = time.time()
    used = execute(command, {"DASK_DISTRIBUTED__WORKER__PRELOAD": preload})
    ended = time.time()
    return read_log(workspace / "stego.log", begun, ended, used)


def read_log(path: Path, begun: float, ended: float, used: tuple[float, memory.Peak]) -> Run:
    """Seconds by what Prefect logged; Prefect says when a flow begins and when it has ended."""
    server, flow, first, marks = begun, 0.0, 0.0, []
    open_flows: list[str] = []
    for line in path.read_text(errors="replace").splitlines():
        match = LINE.match(line)
        if not match:
            continue
        at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
        if match[3].startswith("server answers"):  # it started beside the imports
            server = at - float(match[3].rpartition("waited=")[2])
        elif match[3].startswith("Beginning"):
            open_flows.append(match[3].rpartition("'")[0].rpartition("'")[2])
            flow, first = (flow or at), (first or (at if len(open_flows) == 2 else 0.0))
        elif match[2] == "prefect.flow_runs" and match[3].startswith("Finished in state"):
            name = open_flows.pop()
            if open_flows:
                marks.append((name, at))
    around = {
        "imports of the main process": server - begun,
        "Prefect's server": flow - server,
        "workers": first - flow,
        "end": ended - marks[-1][1],
    }
    return Run(durations(first, marks), around, ended - begun, *used)


def unorchestrated(chosen: argparse.Namespace, options: dict[str, Any], workspace: Path) -> Run:
    """The same stages in plain processes."""
    spec, outcome = (workspace.with_suffix(f".{name}.json") for name in ("spec", "outcome"))
    document = {
        "workspace": str(workspace),
        "dump": DUMP,
        "workers": chosen.workers,
        "options": options,
    }
    spec.write_text(json.dumps(document))
    script = Path(plain.__file__)
    begun = time.time()
    # With one worker this process is the worker.
    environment = plain.worker_environment() if chosen.workers == 1 else {}
    used = execute([sys.executable, str(script), str(spec), str(outcome)], environment)
    ended = time.time()
    found = json.loads(outcome.read_text())
    around = {
        "imports of the main process": found["imported"] - begun,
        "end": ended - found["stages"][-1][1],
    }
    if chosen.workers > 1:
        around["workers"] = found["ready"] - found["imported"]
    return Run(durations(found["ready"], found["stages"]), around, ended - begun, *used)


def durations(begun: float, marks: plain.Marks) -> dict[str, float]:
    """Seconds between the ends of stages, each under its own name."""
    seconds: dict[str, float] = {}
    for name, at in marks:
        seconds[SECOND[name] if name in seconds else name] = at - begun
        begun = at
    return seconds


def execute(command: list[str], environment: dict[str, str]) -> tuple[float, memory.Peak]:
    """Run a command: processor seconds of it and of the processes it waited for, and memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.Popen(
            command,
            cwd=harness.ROOT,
            env={**os.environ, **environment},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        with memory.watched(done.pid) as peak:
            done.wait()
        said.seek(0)
        if done.returncode:
            sys.exit(f"error: {' '.join(command[:4])} ended with {done.returncode}:\n{said.read()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak


def outcome(workspace: Path) -> dict[str, bytes]:
    """Masks and overlays by path."""
    files = [p for kind in ("masks", "overlays") for p in (workspace / kind).rglob("*.*g")]
    return {str(p.relative_to(workspace)): p.read_bytes() for p in files}


def main() -> None:
    made = harness.parser(__doc__, images=32, workers=2)
    made.add_argument("--labels", type=Path, help="folder of labels; generated scenes have some")
    made.add_argument("--taxonomy", type=Path, help="JSON file of class names")
    made.add_argument("--restarts", type=int, default=10, help="k-means starts")
    chosen = made.parse_args()
    with harness.scratch(chosen) as folder:
        files = harness.found_images(chosen, folder)
        options = {
            "corpus": corpus_options(chosen, folder, files),
            "features": harness.backbone_options(chosen),
            "neighbors": {"k": min(30, len(files))},
            "head": {"steps": chosen.steps, "seed": chosen.seed},
            "clusters": {"restarts": chosen.restarts, "seed": chosen.seed},
            "compute": {"workers": chosen.workers, "device": chosen.device},
        }
        execute(DATABASE, {})
        before = harness.machine()
        ours, theirs, same = [], [], True
        for repeat in range(chosen.repeats):
            for mine in (True, False) if repeat % 2 == 0 else (False, True):
                workspace = folder / f"{'pipeline' if mine else 'plain'}-{repeat}"
                done = (orchestrated if mine else unorchestrated)(chosen, options, workspace)
                (ours if mine else theirs).append(done)
                name = workspace.name.partition("-")[0]
                print(f"{name} {repeat + 1}: {sum(done.stages.values()):.1f} s", flush=True)
            found = [outcome(folder / f"{name}-{repeat}") for name in ("pipeline", "plain")]
            same = same and found[0] == found[1] and bool(found[0])
        show(chosen, len(files), ours, theirs, before, len(found[0]) if same else 0)
    sys.exit(None if same else "error: the two sides gave different masks")


def corpus_options(chosen: argparse.Namespace, folder: Path, files: list[Path]) -> dict[str, str]:
    """The section `corpus`: copies of the files where not all of a folder are taken."""
    if chosen.images is None:
        root = folder / "scenes"
        given = {"images": root / "images", "labels": root / "labels"}
        return {k: str(v) for k, v in {**given, "taxonomy": root / "taxonomy.json"}.items()}
    images, labels = chosen.images, chosen.labels and chosen.labels.resolve()
    if chosen.limit:
        wanted = {p.relative_to(images).with_suffix("") for p in files}
        images = linked(images, folder / "limited" / "images", wanted)
        labels = labels and linked(labels, folder / "limited" / "labels", wanted)
    taxonomy = chosen.taxonomy and chosen.taxonomy.resolve()
    given = {"images": images, "labels": labels, "taxonomy": taxonomy}
    return {name: str(value) for name, value in given.items() if value}


def linked(source: Path, target: Path, wanted: set[Path]) -> Path:
    """A folder of links to the files whose path, without extension, is wanted."""
    for file in source.rglob("*"):
        path = file.relative_to(source)
        if path.with_suffix("") in wanted:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).symlink_to(file)
    return target


def show(
    chosen: argparse.Namespace,
    count: int,
    ours: list[Run],
    theirs: list[Run],
    before: dict[str, Any],
    same: int,
) -> None:
    """Table and file."""

    def row(name: str, kind: str) -> Row:
        pairs = [
            [getattr(run, kind)[name] for run in runs if name in getattr(run, kind)]
            for runs in (ours, theirs)
        ]
        return Row(name, *pairs, "s")

    total = Row(
        "all stages",
        *([sum(run.stages.values()) for run in runs] for runs in (ours, theirs)),
        "s",
    )
    rows = [
        *(row(name, "stages") for name in ours[0].stages),
        total,
        *(row(name, "around") for name in ours[0].around),
        Row("whole process", *([run.process for run in runs] for runs in (ours, theirs)), "s"),
        Row("processor time of it", *([run.cpu for run in runs] for runs in (ours, theirs)), "s"),
    ]
    overhead = (total.ratio or 0.0) - 1
    files = f"the same {same} files" if same else "DIFFERENT"
    notes = [
        f"overhead of all stages: {100 * overhead:.1f} % (goal: at most {100 * GOAL:.0f} %)",
        f"masks and overlays: {files} on both sides",
        "imports of workers are in the row 'workers' on both sides; with one worker the plain "
        "side is a single process and has none",
        "processor time counts start-up and end as well; it does not grow with other load",
        "labels are scored where there are some; the plain side writes no records and no artifacts",
    ]
    peaks = [round(statistics.median(run.peak.total for run in runs)) for runs in (ours, theirs)]
    equal = f"masks and overlays, byte for byte: {files} on both sides"
    harness.report(
        "overhead",
        ("pipeline", "plain"),
        rows,
        Headline(total, 1 / (1 + GOAL), equal, (peaks[0], peaks[1])),
        harness.data_of(chosen, count),
        before,
        notes,
        overhead=round(overhead, 4),
        same_files=same,
    )


if __name__ == "__main__":
    main()
