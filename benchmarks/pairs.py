"""Two ways to do the same work side by side, in turns, each in a process of its own.

A row is a module of this folder that has:

    ROW, UNIT, WORK          its name, the unit of its figures, and the work in one sentence
    add_arguments(parser)    what can be chosen
    inputs(chosen, folder)   makes the inputs: a dictionary of plain values for both sides
    figure(inputs, seconds)  seconds as a figure of that unit, more is better; without it, seconds
    ours(inputs)             prepares our way, outside of the clock, and returns the work
    reference(inputs)        the same for what people use today
    equal(inputs, a, b)      how both results were compared, and by how much they differ
    more(inputs)             further figures for the file; may be left out
    GOAL                     the least ratio; may be left out
    PACKAGES                 further packages whose versions matter; may be left out

Both works return a dictionary of arrays; `scale` in it is a factor for the seconds, where a part of
the work was done and stands for all of it. `main(module)` runs it all, prints the table and writes
benchmarks/results/ROW.json. Ratios above 1 say that ours is better. Peak memory is what a process
and its children hold at most while the work is done, beyond what they held when it began.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import harness
import memory
import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Work = Callable[[], Arrays]
SIDES = ("ours", "reference")
MIB = 2**20


def main(module: ModuleType) -> None:
    """The command line of a row."""
    from tasks.engine.machine import cores

    parser = argparse.ArgumentParser(
        description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="of each side")
    parser.add_argument("--threads", type=int, default=cores(), help="of each side")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    module.add_arguments(parser)
    chosen = parser.parse_args()
    before = harness.machine()
    with harness.scratch(chosen) as folder:
        inputs = {**module.inputs(chosen, folder), "threads": chosen.threads}
        spec = folder / "inputs.json"
        spec.write_text(json.dumps(inputs))
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for repeat in range(chosen.repeats):
            for side in SIDES if repeat % 2 == 0 else SIDES[::-1]:
                measured = in_a_process(module, side, spec, folder / f"{side}.npz", chosen.threads)
                found[side].append(measured)
                print(
                    f"{side}: {measured['seconds']:.2f} s, {measured['peak']:.0f} MiB", flush=True
                )
        results = [dict(np.load(folder / f"{side}.npz")) for side in SIDES]
        equal = module.equal(inputs, *results)
        more = module.more(inputs) if hasattr(module, "more") else {}
    write(module, found, inputs, {"equal": equal, **more}, before)


def in_a_process(
    module: ModuleType, side: str, spec: Path, result: Path, threads: int
) -> dict[str, float]:
    """Seconds and peak memory (MiB) of one side's work, in a new process with so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    script = Path(str(module.__file__)).stem
    command = [sys.executable, __file__, script, side, str(spec), str(result)]
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(told.stdout.splitlines()[-1]))


def one_side(script: str, side: str, spec: str, result: str) -> None:
    """What runs in that process; the last line it prints is the measurement."""
    import torch

    inputs = json.loads(Path(spec).read_text())
    torch.set_num_threads(inputs["threads"])
    work: Work = getattr(importlib.import_module(script), side)(inputs)
    with memory.watched() as peak:
        begun = time.perf_counter()
        arrays = work()
        seconds = time.perf_counter() - begun
    seconds *= float(arrays.pop("scale", np.array(1)))
    np.savez(result, **arrays)
    print(json.dumps({"seconds": seconds, "peak": peak.beyond / MIB}))


def write(
    module: ModuleType,
    found: dict[str, list[dict[str, float]]],
    inputs: dict[str, Any],
    told: dict[str, Any],
    before: dict[str, Any],
) -> None:
    """Print the table and write the row's file."""
    figure = getattr(module, "figure", lambda _, seconds: seconds)
    figures = {side: [figure(inputs, run["seconds"]) for run in found[side]] for side in SIDES}
    ours, theirs = (median(figures[side]) for side in SIDES)
    ratio = ours / theirs if hasattr(module, "figure") else theirs / ours
    peaks = {side: median(run["peak"] for run in found[side]) for side in SIDES}
    print(f"\n{module.WORK}")
    print(f"{'':10} {'median':>9} {'least':>9} {'most':>9}  {module.UNIT:18} peak memory")
    for side in SIDES:
        values = (median(figures[side]), min(figures[side]), max(figures[side]))
        print(f"{side:10} " + " ".join(f"{value:9.3f}" for value in values), end="")
        print(f"  {'':18} {peaks[side]:.0f} MiB")
    print(f"{'ratio':10} {ratio:9.2f}")
    for name, value in told.items():
        print(f"{name}: {value}")
    names = ("torch", "numpy", "faiss-cpu", *getattr(module, "PACKAGES", ()))
    document = {
        "row": module.ROW,
        "work": module.WORK,
        **{side: harness.summary(figures[side]) for side in SIDES},
        "ratio": round(ratio, 3),
        "goal": getattr(module, "GOAL", None),
        "unit": module.UNIT,
        "repeats": len(found["ours"]),
        "peak_memory_ours": round(peaks["ours"] * MIB),
        "peak_memory_reference": round(peaks["reference"] * MIB),
        **told,
        "inputs": {name: value for name, value in inputs.items() if name not in HIDDEN},
        "machine": before,
        "versions": harness.versions_of(names),
    }
    harness.write(module.ROW, document)


HIDDEN = ("file", "folder", "workspace")
"""Inputs that say where something lies on this machine."""


if __name__ == "__main__":
    one_side(*sys.argv[1:])
