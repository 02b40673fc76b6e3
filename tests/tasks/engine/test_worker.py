"""What a worker is set up with, however it was started."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from tasks.engine.worker import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**18)  # 2 MiB, 512 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_freed_memory_is_kept_for_the_next_array() -> None:
    """Dask starts workers with the threshold below, which gives every array back at once."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True
    )
    before, could, after = done.stdout.split()
    assert could == "True"
    assert int(before) > 20 * 500
    assert int(after) < 2 * 512 + 200


def test_torch_is_loaded_on_one_thread_whatever_the_environment_says() -> None:
    """A worker of somebody's cluster may have been started with any number."""
    code = (
        "from tasks.engine.worker import Remote; from tasks.storage.s3 import Service; "
        "step = lambda: __import__('torch').get_num_threads(); "
        "print(Remote(step, Service())())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["1"], done.stderr
