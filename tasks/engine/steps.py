"""Work cut into steps, whoever runs them; and a plain loop that does."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.engine import machine
from tasks.storage import run_cache

_one_at_a_time = threading.Lock()
"""Torch's thread count belongs to the whole process: loops in several threads take turns."""


@dataclass(frozen=True)
class Step:
    """One part of a shard's work, done on one worker.

    Attributes:
        call: a picklable callable (shard) or, after the first step, (shard, previous result).
        gpu: whether it profits from a GPU.
    """

    call: Callable[..., Any]
    gpu: bool = False


class CpuWork(ABC):
    """Work on shards in one step, on a CPU."""

    gpu = False

    @abstractmethod
    def shard(self, shard: int) -> Any:
        """Compute a shard, store its data, then its record."""

    def steps(self) -> Sequence[Step]:
        """The only step."""
        return [Step(self.shard, self.gpu)]


class GpuWork(CpuWork):
    """Work on shards in one step, on a GPU where there is one."""

    gpu = True


class Executor(Protocol):
    """Runs the steps of many shards."""

    def map(
        self, steps: Sequence[Step], shards: Sequence[int], title: str = "work"
    ) -> Iterator[Any]:
        """Results of the last step, as they come; the order is not the shards'."""
        ...


class LoopExecutor:
    """One shard after another in this process, on one thread like a Dask worker."""

    def map(
        self, steps: Sequence[Step], shards: Sequence[int], title: str = "work"
    ) -> Iterator[Any]:
        """Results of the last step, in the shards' order."""
        run_cache.enter_stage(title)
        for shard in shards:
            with _one_at_a_time, machine.one_thread():
                result = steps[0].call(shard)
                for step in steps[1:]:
                    result = step.call(shard, result)
            yield result
