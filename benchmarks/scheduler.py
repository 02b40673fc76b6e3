"""How many shards a second a run can hand out, and what its process holds, with many workers.

    python benchmarks/scheduler.py --workers 10 100 1000 --shards 20000

Dask's scheduler in a process of its own, workers that do nothing in a second one, and a run's
executor in this one: every shard is two steps that return at once, as the masks' are. What bounds
shards a second, whatever the number of workers, is the processor time that the scheduler or the run
takes for one; the wall time is mostly that of so many workers in one process. What both take in a
second without any shard is told, too: where few shards a second are handed out, it is part of each.
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import harness
import memory
import psutil
from dask import config
from distributed import Scheduler, Worker

from tasks.engine.compute import executor
from tasks.engine.steps import Step
from tasks.options import ComputeOptions
from tasks.workspace.ledger import Record

MIB = 2**20
IDLE_SECONDS = 8
UNWATCHED = {
    "distributed.admin.tick.interval": "1h",
    "distributed.admin.system-monitor.interval": "1h",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.profile.enabled": False,
}
"""Workers of one process do not watch themselves: each looks fifty times a second whether the loop
is free, and twice through all open files, so that their cost grows with the square of their number.
"""


def codes(shard: int) -> bytes:
    """In place of a first step."""
    return b""


def refine(shard: int, _: bytes) -> Record:
    """In place of a second step: only its record travels."""
    return Record(shard, (8 * shard, 8 * shard + 8), 0, "0" * 32, {"refine": 1.0}, {}, RESULTS)


RESULTS = {"pixels": [12345] * 16, "margins": [1234.5] * 16, "confidence": {"values": "A" * 2200}}


async def schedule() -> None:
    """Until the process is ended."""
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()


async def work(address: str, count: int) -> None:
    """So many workers in one process, until the process is ended."""
    options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False}
    options["host"] = "127.0.0.1"
    options["executor"] = ThreadPoolExecutor(1)  # of all: a thousand threads wait for each other
    with config.set(UNWATCHED):
        started = [await Worker(address, **options) for _ in range(count)]
    print("ready", flush=True)
    await asyncio.gather(*(worker.finished() for worker in started))


@contextmanager
def begun(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """This script in another role, and the first line that it prints."""
    command = [sys.executable, __file__, *arguments]
    quiet = os.environ | {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def busy(process: psutil.Process) -> float:
    """Seconds of processor time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measured(workers: int, shards: int) -> dict[str, float]:
    """Shards a second, and bytes that this process and the scheduler come to hold."""
    with ExitStack() as stack:
        scheduler, address = stack.enter_context(begun("--role", "scheduler"))
        roles = ("--role", "workers", "--address", address, "--workers", str(workers))
        stack.enter_context(begun(*roles))
        dask = stack.enter_context(executor(ComputeOptions(cluster=address)))
        steps = [Step(codes), Step(refine)]
        for _ in dask.map(steps, range(2 * workers)):  # every worker has the steps then
            pass
        gc.collect()
        held, own = psutil.Process(scheduler.pid), psutil.Process()
        idle = [-busy(each) for each in (own, held)]
        time.sleep(IDLE_SECONDS)
        idle = [so_far + busy(each) for so_far, each in zip(idle, (own, held), strict=True)]
        begin, before = time.perf_counter(), own.memory_info().rss
        spent = [-busy(each) for each in (own, held)]
        with memory.watched() as peak:
            count = sum(1 for _ in dask.map(steps, range(shards)))
        seconds = time.perf_counter() - begin
        spent = [so_far + busy(each) for so_far, each in zip(spent, (own, held), strict=True)]
        of_scheduler = held.memory_info().rss
    assert count == shards
    return {
        "workers": workers,
        "shards": shards,
        "seconds": round(seconds, 2),
        "shards_per_second": round(shards / seconds, 1),
        "driver_ms": round(1000 * spent[0] / shards, 2),
        "scheduler_ms": round(1000 * spent[1] / shards, 2),
        "driver_idle_ms": round(1000 * idle[0] / IDLE_SECONDS, 1),
        "scheduler_idle_ms": round(1000 * idle[1] / IDLE_SECONDS, 1),
        "bound": round(shards / max(spent)),
        "driver_bytes": peak.own - before,
        "scheduler_bytes": of_scheduler,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--shards", type=int, default=20_000, help="shards of each measurement")
    parser.add_argument("--role", choices=("scheduler", "workers"), help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.role:
        role = partial(work, chosen.address, chosen.workers[0]) if chosen.address else schedule
        asyncio.run(role())
        return
    before, found = harness.machine(), []
    for workers in chosen.workers:
        found.append(measured(workers, chosen.shards))
        row = found[-1]
        held = [row[name] / MIB for name in ("driver_bytes", "scheduler_bytes")]
        text = (
            "{:>6,} workers {:>7,.0f} shards/s; processor ms a shard: run {}, scheduler {}: "
            "at most {:,} shards/s; idle, in a second: run {}, scheduler {}; MiB: run {:+.0f}, "
            "scheduler {:.0f}"
        )
        names = ("workers", "shards_per_second", "driver_ms", "scheduler_ms", "bound")
        names += ("driver_idle_ms", "scheduler_idle_ms")
        print(text.format(*(row[name] for name in names), *held), flush=True)
    harness.write("scheduler", {"measured": found, "machine": before})


if __name__ == "__main__":
    main()
