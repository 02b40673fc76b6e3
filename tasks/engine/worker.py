"""A step on its way to a worker, with what the worker must know besides; imports no torch."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from tasks.engine import progress
from tasks.storage import run_cache, s3

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""What has libraries compute on one thread that are loaded after it is set."""
TOPIC = "stego-progress"
"""Where workers tell how far a long step has come; each client of a scheduler has its own."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings, from its malloc.h."""


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next array; whether it could be had.

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
    """A step's call that sets the worker up first: memory, threads, object store, progress.

    Attributes:
        call: the step.
        service: the object store that the run uses.
        run: what is remembered of a workspace holds for this run only.
        tell: sends a progress event, as a dictionary, to whoever runs the flow.
        stage: the stage that the step works for, as progress events name it.
    """

    call: Callable[..., Any]
    service: s3.Service
    run: str = ""
    tell: Callable[[dict[str, Any]], None] | None = None
    stage: str = ""

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
            if self.tell is not None:
                tell = self.tell
                stack.enter_context(progress.listening(lambda event: tell(asdict(event))))
            return self.call(*arguments)
