"""Python's garbage collector, left alone while libraries are imported."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Import in the block without looking for garbage: there is none, and looking takes a quarter
    longer.

    What was imported stays to the end, so later looks pass over it; each would take a tenth of a
    second. Where the block imports nothing, nothing changes.
    """
    if not gc.isenabled():
        yield
        return
    modules = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        gc.enable()
