"""Where shards are computed: Dask workers, or a plain loop. The only code that touches Dask."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from dask import config
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.scheduler import KilledWorker

from stego_core.errors import CapacityError, OutageError
from tasks.engine import machine, progress, scheduler_connection, stop
from tasks.engine.scheduler_connection import AGAIN
from tasks.engine.steps import Executor, LoopExecutor, Step
from tasks.engine.worker import ONE_THREAD, Remote
from tasks.log import Log
from tasks.options import ComputeOptions
from tasks.storage import run_cache, s3
from tasks.storage.threads import bound

log = Log(__name__)

LOOK_SECONDS = 5  # between checks of a cluster that returns nothing
SETTINGS = {
    "distributed.scheduler.allowed-failures": 3,
    "distributed.worker.profile.enabled": False,  # samples every thread a hundred times a second
    "distributed.admin.tick.interval": "500ms",  # default 20: it only looks for a late event loop
}
"""Settings of Dask while a cluster is open."""
GPU = "GPU"  # name of the Dask worker resource that GPU work asks for


class DaskExecutor:
    """Shards on the workers of a Dask cluster, at most twice as many under way as workers."""

    def __init__(self, address: Any) -> None:
        """Connect to a cluster of this process or to a scheduler's address.

        Waits and raises as `scheduler_connection.connected` and `wait_for_a_worker` do.
        """
        self.address = address
        self.topic = f"stego-progress-{uuid4().hex}"  # no other run gets these workers' progress
        self.client = scheduler_connection.connected(self.address, self.topic)
        self.name = scheduler_connection.name(address)
        self.lock = threading.Lock()
        if isinstance(address, str):
            try:
                scheduler_connection.wait_for_a_worker(self.client, address)
            except OutageError:
                self.close()
                raise

    def close(self) -> None:
        """Leave the cluster."""
        self.client.close()

    def map(
        self, steps: Sequence[Step], shards: Sequence[int], title: str = "work"
    ) -> Iterator[Any]:
        """Results of the last step, as they complete.

        Raises:
            StegoError: what a step raised, or that the run is being stopped.
            OutageError: the scheduler or its workers went away, or a shard killed its workers;
                shards that are on record by then stay finished.
        """
        client = self._reconnected()
        name = f"{title}-{uuid4().hex[:8]}"  # of two maps, none gets the other's results
        waiting = iter(shards)
        running: dict[Any, int] = {}
        done: SimpleQueue[Any] = SimpleQueue()  # futures; to wait for all of them costs more each
        last_result = time.monotonic()

        def begin(shard: int) -> None:
            future = self._submit(client, name, steps, shard, gpus)
            running[future] = shard
            future.add_done_callback(done.put)

        try:
            workers = self._workers(client)
            gpus = bool(_with_gpu(workers))
            for shard in islice(waiting, 2 * max(len(workers), 1)):
                begin(shard)
            while running:
                stop.check()
                try:
                    future = done.get(timeout=LOOK_SECONDS)
                except Empty:
                    self._require_workers(client, last_result)
                    continue
                last_result = time.monotonic()
                yield _result(future, title, running.pop(future))
                for shard in islice(waiting, 1):
                    begin(shard)
        except CancelledError as error:  # what futures say whose scheduler is gone
            raise OutageError(self._lost(str(error) or "its tasks were cancelled")) from None
        finally:
            for future in running:
                future.release()

    def _submit(
        self, client: Client, name: str, steps: Sequence[Step], shard: int, gpus: bool
    ) -> Any:
        result: Any = None
        service, run = s3.current_service(), run_cache.current_run()
        send = partial(scheduler_connection.send_event, self.topic)
        for index, step in enumerate(steps):
            arguments = (shard,) if index == 0 else (shard, result)
            result = client.submit(
                Remote(step.call, service, run, send, progress.current_stage()),
                *arguments,
                # Dask learns how long a step takes from keys that begin alike, and keeps what is
                # alike on the scheduler until a worker is free.
                key=(f"step {index} of {name}", shard),
                resources={GPU: 1} if step.gpu and gpus else None,
                pure=False,
            )
        return result

    def has_gpu(self) -> bool:
        """Whether a worker offers the resource `GPU`."""
        return bool(_with_gpu(self._workers(self._reconnected())))

    def precision(self, device: str) -> str:
        """The dtype in which all workers that get the backbone compute their products fast."""
        client = self._reconnected()
        workers = self._workers(client)
        names = _with_gpu(workers) or list(workers)
        precisions = client.run(machine.own_precision, device, workers=names)
        return "float32" if "float32" in precisions.values() else "bfloat16"

    def _workers(self, client: Client) -> dict[str, Any]:
        try:
            return dict(client.scheduler_info(n_workers=-1)["workers"])
        except Exception as error:  # whatever a closed connection leads to
            raise OutageError(self._lost(str(error))) from None

    def _require_workers(self, client: Client, last_result: float) -> None:
        """Raise if no result can come any more."""
        if client.status != "running":
            raise OutageError(self._lost(f"its connection is {client.status}"))
        patience = scheduler_connection.PATIENCE_SECONDS
        if not self._workers(client) and time.monotonic() - last_result > patience:
            raise OutageError(
                f"the Dask scheduler at {self.name} has had no worker for {patience} s; start some "
                f"with `dask worker {self.name}` and {AGAIN}"
            )

    def _lost(self, reason: str) -> str:
        return f"the Dask scheduler at {self.name} went away ({reason}); start it again and {AGAIN}"

    def _reconnected(self) -> Client:
        """The client; another one if its scheduler was restarted, as soon as that answers."""
        with self.lock:
            if self.client.status == "running":
                return self.client
            self.client.close(timeout=1)
            self.client = scheduler_connection.connected(self.address, self.topic)
            log.info("dask reconnected", scheduler=self.name)
            return self.client


def has_gpu(options: ComputeOptions) -> bool:
    """Whether a worker, or this process in their place, has a GPU."""
    with executor(options) as shards:
        if isinstance(shards, DaskExecutor):
            return shards.has_gpu()
    return machine.is_cuda(machine.device(options.device))


def precision(choice: str, options: ComputeOptions) -> str:
    """The dtype of the backbone's products: chosen before the work, the same for all workers."""
    if choice == "auto" and options.cluster != "local":
        with executor(options) as shards:
            if isinstance(shards, DaskExecutor):
                return shards.precision(options.device)
    return machine.precision(choice, machine.device(options.device))


def _with_gpu(workers: dict[str, Any]) -> list[str]:
    return [name for name, worker in workers.items() if worker["resources"].get(GPU)]


def _result(future: Any, title: str, shard: int) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        raise OutageError(
            f"{title}: shard {shard} killed the worker that ran it {error.allowed_failures + 1} "
            "times, most likely for want of memory; use fewer --workers, a larger --memory-limit "
            f"or a larger machine, and {AGAIN}"
        ) from None
    except MemoryError as error:
        raise CapacityError(
            f"{title}: a worker ran out of memory at shard {shard} ({error}); use fewer --workers "
            "or a larger machine"
        ) from None
    except Exception as error:
        error.add_note(f"{title}: shard {shard}")
        raise


_open: ContextVar[Mapping[ComputeOptions, Executor]] = ContextVar(
    "open", default=MappingProxyType({})
)
"""Executors that a run has open, which its stages and partitions share."""


@contextmanager
def executor(options: ComputeOptions) -> Iterator[Executor]:
    """The executor for these options; the one that the run has open, or a new one until the end.

    Raises as `DaskExecutor`.
    """
    if options in _open.get():
        yield _open.get()[options]
        return
    machine.limit_threads()
    opening = _dask(options) if options.executor == "dask" else nullcontext(LoopExecutor())
    with opening as shards, bound(_open, {**_open.get(), options: shards}):
        yield shards


@contextmanager
def _dask(options: ComputeOptions) -> Iterator[DaskExecutor]:
    with ExitStack() as stack, config.set(SETTINGS):
        local = options.cluster == "local"
        shards = DaskExecutor(stack.enter_context(_local(options)) if local else options.cluster)
        stack.callback(shards.close)
        log.info("dask connected", scheduler=shards.name, dashboard=shards.client.dashboard_link)
        yield shards


class _Nanny(Nanny):  # type: ignore[misc]
    """Starts a worker whose libraries compute on one thread, whatever the environment says.

    Otherwise the bytes of a shard would depend on it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for environment in (self.pre_spawn_env, self.env):
            environment.update(ONE_THREAD)


def _local(options: ComputeOptions) -> SpecCluster:
    """Worker processes of one thread each; where there are GPUs, one worker for each of them."""
    gpus = machine.gpus(machine.device(options.device))
    host = {"host": "127.0.0.1"}
    worker = {"nthreads": 1, "memory_limit": options.memory_limit or 0, **host}
    resources = [{GPU: 1} if n < gpus else {} for n in range(max(machine.workers(options), gpus))]
    workers = {
        number: {"cls": _Nanny, "options": {**worker, "resources": offered}}
        for number, offered in enumerate(resources)
    }
    # Without an address a dashboard warns where 8787 is taken.
    scheduler = {**host, "port": 0, "dashboard_address": "127.0.0.1:0"}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": scheduler},
        workers=workers,
        silence_logs=logging.ERROR,
    )
