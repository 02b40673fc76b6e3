"""This machine or container: torch device, processors, threads, and whether a plan fits memory.

torch, which takes seconds, is imported where it is asked: workers that index images never do.
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import psutil

from stego_core.errors import CapacityError, OptionError
from tasks.engine import cgroups
from tasks.options import ComputeOptions

GIB = 2**30
SAFE_SHARE = 0.9  # share of a worker's memory limit that shards may use: at 0.95 Dask restarts it


def cores() -> int:
    """Processors that this process may use: affinity and quotas of its container count.

    Part of a processor counts as one, as with Dask.
    """
    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # macOS has none
    count = (len(affinity()) if affinity else os.cpu_count()) or 1
    quota = cgroups.processors()
    return max(min(count, math.ceil(quota or count)), 1)


def free_memory() -> int:
    """Bytes that this process can still take: what the machine and its container have left."""
    free = int(psutil.virtual_memory().available)
    left = cgroups.free_memory()
    return free if left is None else min(free, left)


@cache
def resting() -> int:
    """Bytes that this process held at the first call: its libraries."""
    return int(psutil.Process().memory_info().rss)


def budget(options: ComputeOptions) -> int:
    """Bytes that a shard may take in this process, a worker or a loop of these options.

    Memory that the process kept from earlier shards counts as free. Workers elsewhere have their
    container to themselves.
    """
    kept = max(int(psutil.Process().memory_info().rss) - resting(), 0)
    sharing = workers(options) if (options.cluster, options.executor) == ("local", "dask") else 1
    free = free_memory() // sharing + kept
    if options.memory_limit is None:
        return free
    return min(free, int(SAFE_SHARE * options.memory_limit) - resting())


def limit_threads() -> None:
    """Let no library use more threads than there are processors.

    By themselves they count those of the machine: a container with a quota would then be throttled.
    """
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), cores()))
    if "faiss" in sys.modules:
        import faiss  # which waits for a thread that is importing it just now

        faiss.omp_set_num_threads(min(faiss.omp_get_max_threads(), cores()))


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Torch on so many threads, by default one per core, until the end of the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Torch on one thread, so that a shard's bytes do not depend on who computes it."""
    return threads(1)


def precision(choice: str, device: str) -> str:
    """The dtype of products for an option: `auto` is bfloat16 where the device computes in it."""
    import torch

    if choice != "auto":
        return choice
    fast = False  # on devices that are neither CPU nor CUDA it is not known
    if device == "cpu":
        has = torch.cpu.get_capabilities()
        fast = bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    elif is_cuda(device):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def own_precision(choice: str) -> str:
    """The dtype in which this process computes fast, on the torch device for an option."""
    return precision("auto", device(choice))


def device(choice: str) -> str:
    """The torch device for an option, an OptionError if it is not there: `auto` is cuda or cpu."""
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=choice).cpu()  # `meta` keeps no values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise OptionError(
            f"device {choice!r} cannot be used: {str(error).splitlines()[0]}; use --device cpu"
        ) from None
    return choice


def is_cuda(device: str) -> bool:
    """Whether a torch device is a GPU, `cuda` or one of them by its number."""
    import torch

    return torch.device(device).type == "cuda"


def gpus(device: str) -> int:
    """GPUs that a torch device stands for: `cuda` is all of them, `cuda:1` is one."""
    import torch

    if not is_cuda(device):
        return 0
    return torch.cuda.device_count() if torch.device(device).index is None else 1


def worker_device(options: ComputeOptions) -> str:
    """The device option as workers get it; as `device` where they run on this machine."""
    return device(options.device) if options.cluster == "local" else options.device


def workers(options: ComputeOptions) -> int:
    """Local worker processes that these options ask for."""
    return options.workers or cores()


def require_free(what: str, needed: int) -> None:
    """Raise a CapacityError, with both numbers, if `needed` bytes are not free."""
    free = free_memory()
    if needed > free:
        raise CapacityError(
            f"{what} needs about {needed / GIB:.1f} GiB of memory while it is loaded, and "
            f"{free / GIB:.1f} GiB are free; choose a smaller one or a larger machine"
        )


def require_memory(title: str, per_worker: int, options: ComputeOptions) -> None:
    """Raise a CapacityError, with both numbers, for a stage that cannot fit this machine.

    It holds `per_worker` bytes at once on a worker, its libraries left out.
    """
    if options.cluster != "local":
        return  # machines elsewhere are not known here
    count = workers(options) if options.executor == "dask" else 1
    free = free_memory()
    if options.memory_limit and per_worker > options.memory_limit:
        raise CapacityError(
            f"{title} needs about {per_worker / GIB:.1f} GiB on each worker, and --memory-limit "
            f"gives it {options.memory_limit / GIB:.1f} GiB; raise it"
        )
    if count * per_worker > free:
        raise CapacityError(
            f"{title} needs about {per_worker / GIB:.1f} GiB on each of {count} workers, and "
            f"{free / GIB:.1f} GiB are free; use fewer --workers or smaller windows and draws"
        )
