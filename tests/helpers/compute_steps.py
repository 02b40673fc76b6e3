"""Steps for test_compute.py, in a module that workers import in no time: it loads no torch."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stego_core.errors import ImageError
from tasks.engine.progress import Progress


@dataclass(frozen=True)
class Work:
    """What a stage ships to workers: small, picklable, its steps are its methods."""

    factor: int

    def first(self, shard: int) -> int:
        return self.factor * shard

    def second(self, shard: int, result: int) -> tuple[int, int]:
        return shard, result + 1


@dataclass(frozen=True)
class Patient:
    """Its shard 0 ends when a mark is there."""

    mark: str

    def step(self, shard: int) -> int:
        deadline = time.monotonic() + 60
        while shard == 0 and not Path(self.mark).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return shard


def plain(shard: int, result: Any = None) -> int:
    return shard


def give(value: int, shard: int) -> int:
    return value


def slowly_give(value: int, shard: int) -> int:
    time.sleep(0.3)
    return value


def process(shard: int, result: Any = None) -> int:
    return os.getpid()


def threads_of_libraries(shard: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def refuse(shard: int, result: Any = None) -> int:
    if shard == 2:
        raise ImageError("shard 2: cannot be decoded: truncated")
    return shard


def trip(shard: int) -> int:
    return [1, 2][shard]


def die(shard: int) -> int:
    os._exit(1)


async def offer_gpu(dask_worker: Any) -> int:
    await dask_worker.set_resources(GPU=1)
    return os.getpid()


async def take_gpu_away(dask_worker: Any) -> None:
    await dask_worker.set_resources(GPU=0)


LAST = 99


def announce(shard: int) -> int:
    """Tell how far it has come, as training does."""
    Progress("head", 100, "steps", shard).advance(0, "last" if shard == LAST else "")
    return shard
