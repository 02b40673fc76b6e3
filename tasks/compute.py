"""Where shards are computed: Dask workers, or a plain loop. The only code that touches Dask."""

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol
from uuid import uuid4

import psutil
import torch
from dask import config
from distributed import Client, LocalCluster, as_completed
from distributed.scheduler import KilledWorker

from stego_core.errors import CapacityError, OptionError
from tasks.options import ComputeOptions

CONNECT_SECONDS = 10
SETTINGS = {
    "distributed.scheduler.allowed-failures": 3,
    # Dask tells malloc to give memory back at once; the CRF then spends a third of its time on
    # page faults. What a worker holds is bounded by its largest shard anyway.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**30,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}
GPU = "GPU"
"""Name of the Dask worker resource that GPU work asks for."""


@dataclass(frozen=True)
class Step:
    """One part of a shard's work, done on one worker.

    Attributes:
        call: a picklable callable (shard) or, after the first step, (shard, previous result).
        gpu: whether it profits from a GPU.
    """

    call: Callable[..., Any]
    gpu: bool = False


class Executor(Protocol):
    """Runs the steps of many shards."""

    def map(self, steps: Sequence[Step], shards: Sequence[int]) -> Iterator[Any]:
        """Results of the last step, as they come; the order is not the shards'."""
        ...


class LoopExecutor:
    """One shard after another in this process, on one thread like a Dask worker."""

    def map(self, steps: Sequence[Step], shards: Sequence[int]) -> Iterator[Any]:
        """Results of the last step, in the shards' order."""
        for shard in shards:
            with _one_at_a_time, one_thread():
                result = steps[0].call(shard)
                for step in steps[1:]:
                    result = step.call(shard, result)
            yield result


@dataclass(frozen=True)
class DaskExecutor:
    """Shards on the workers of a Dask cluster, at most twice as many under way as workers.

    Attributes:
        client: connected client.
    """

    client: Client

    def map(self, steps: Sequence[Step], shards: Sequence[int]) -> Iterator[Any]:
        """Results of the last step, as they complete.

        Raises:
            StegoError: what a step raised, or that a shard killed its worker.
        """
        name = f"{_name(steps[0])} {uuid4().hex[:8]}"  # of two maps, none gets the other's results
        waiting = iter(shards)
        window = 2 * max(len(self.client.scheduler_info(n_workers=-1)["workers"]), 1)
        running = as_completed(
            [self._submit(name, steps, shard) for shard in islice(waiting, window)],
            with_results=False,
        )
        for future in running:
            try:
                yield future.result()
            except KilledWorker as error:
                raise CapacityError(
                    f"{future.key} killed the worker that ran it {error.allowed_failures + 1} "
                    "times, most likely for want of memory; use fewer --workers or a larger machine"
                ) from None
            for shard in islice(waiting, 1):
                running.add(self._submit(name, steps, shard))

    def _submit(self, name: str, steps: Sequence[Step], shard: int) -> Any:
        result: Any = None
        for index, step in enumerate(steps):
            arguments = (shard,) if index == 0 else (shard, result)
            result = self.client.submit(
                step.call,
                *arguments,
                key=f"{name} step {index} shard {shard}",
                resources={GPU: 1} if step.gpu and self._has_gpus() else None,
                pure=False,
            )
        return result

    def _has_gpus(self) -> bool:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker["resources"].get(GPU) for worker in workers)


def _name(step: Step) -> str:
    owner = getattr(step.call, "__self__", None)
    return type(owner).__name__ if owner is not None else getattr(step.call, "__name__", "step")


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, so that a shard's bytes do not depend on who computes it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_one_at_a_time = threading.Lock()
"""Torch's thread count belongs to the whole process: loops in several threads take turns."""
_open: dict[ComputeOptions, Executor] = {}
"""Executors that are open in this process: stages of one run share theirs."""


@contextmanager
def executor(options: ComputeOptions) -> Iterator[Executor]:
    """The executor for these options; the one already open, or a new one until the end.

    Raises:
        OptionError: there is no scheduler at the address.
    """
    if options in _open:
        yield _open[options]
        return
    with ExitStack() as stack:
        made: Executor = LoopExecutor()
        if options.executor == "dask":
            made = DaskExecutor(stack.enter_context(_client(options)))
        _open[options] = made
        stack.callback(_open.pop, options)
        yield made


@contextmanager
def _client(options: ComputeOptions) -> Iterator[Client]:
    with ExitStack() as stack, config.set(SETTINGS):
        if options.cluster == "local":
            address: Any = stack.enter_context(
                LocalCluster(
                    n_workers=options.workers or os.cpu_count() or 1,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",  # None warns where 8787 is taken
                    silence_logs=logging.ERROR,
                )
            )
        else:
            address = options.cluster
        yield stack.enter_context(_connected(address))


def _connected(address: Any) -> Client:
    try:
        return Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error)
    gc.collect()  # a half-made client that is finalized later can block the start of the next one
    raise OptionError(
        f"no Dask scheduler answers at {address} within {CONNECT_SECONDS} s ({reason}); "
        "start one, or use --cluster local"
    )


def require_memory(title: str, per_worker: int, options: ComputeOptions) -> None:
    """Refuse a plan that cannot fit this machine, before any work is done.

    Args:
        title: the stage.
        per_worker: bytes that the stage holds at once on a worker, its libraries left out.
        options: how many workers there are; those of a cluster elsewhere are not known here.

    Raises:
        CapacityError: it cannot fit; says both numbers.
    """
    if options.cluster != "local":
        return
    workers = (options.workers or os.cpu_count() or 1) if options.executor == "dask" else 1
    free = psutil.virtual_memory().available
    if workers * per_worker > free:
        raise CapacityError(
            f"{title} needs about {per_worker / 2**30:.1f} GiB on each of {workers} workers, and "
            f"{free / 2**30:.1f} GiB are free; use fewer --workers or smaller windows and draws"
        )


def device(choice: str) -> str:
    """The torch device for an option: `auto` is cuda where there is one.

    Raises:
        OptionError: the device is not there.
    """
    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=choice)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise OptionError(
            f"device {choice!r} cannot be used: {str(error).splitlines()[0]}; use --device cpu"
        ) from None
    return choice
