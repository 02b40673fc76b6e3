"""Files of a local disk, replaced whole or not at all."""

import os
import posixpath
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO
from uuid import uuid4


def write_local(target: str, fill: Callable[[BinaryIO], object]) -> None:
    """Write beside the target, flush to the disk, then replace: atomic on a local disk.

    Folders above the target are made; `fill` writes the bytes into the open file. Where that or the
    disk raises an error, nothing of the file is left.
    """
    folder = posixpath.dirname(target)
    os.makedirs(folder, exist_ok=True)
    partial = f"{folder}/.{uuid4().hex}.partial"  # names may be at their longest
    try:
        with open(partial, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
        sync(folder)
    except BaseException:
        with suppress(OSError):
            os.remove(partial)
        raise


def sync(folder: str) -> None:
    """Flush a folder's list of names to the disk: a record may not outlive its shard."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
