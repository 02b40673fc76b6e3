"""A step on its way to a worker, with what the worker must know besides; imports no torch."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

from tasks.engine import progress
from tasks.storage import run_cache, s3

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""Environment in which libraries that are loaded later compute on one thread."""

M_TRIM_THRESHOLD = -1
"""glibc's setting, from its malloc.h: free bytes from which on memory is given back."""
M_MMAP_THRESHOLD = -3  # glibc's setting: bytes from which on an array gets pages of its own


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next array; returns whether it does.

    Dask starts workers with a malloc that gives memory back at once. Page faults then double the
    time of head training and take a third of the CRF's. What a worker keeps is bounded by its
    largest shard. Without glibc nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, 2**30) and mallopt(M_MMAP_THRESHOLD, 2**25))


@dataclass(frozen=True)
class Remote:
    """A step's call that sets the worker up first: memory, threads, object store, progress."""

    call: Callable[..., Any]  # the step
    service: s3.Service  # the object store that the run uses
    run: str = ""  # the run that the step works for, by its name in `run_cache`
    send: progress.Listener | None = None  # sends a progress event to the run
    stage: str = ""  # the stage that the step works for, by its name in `progress`

    def __call__(self, *arguments: Any) -> Any:
        """Run the step."""
        keep_freed_memory()
        torch = sys.modules.get("torch")
        if torch is None:  # it reads them when the step imports it
            os.environ.update(ONE_THREAD)
        elif torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # bytes must not depend on how a worker was started
        with ExitStack() as stack:
            stack.enter_context(s3.connected(self.service))
            stack.enter_context(run_cache.during(self.run))
            run_cache.enter_stage(self.stage)
            stack.enter_context(progress.within(self.stage))
            if self.send is not None:
                stack.enter_context(progress.listening(self.send))
            return self.call(*arguments)
