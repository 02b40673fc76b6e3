"""Files of a local disk, replaced whole or not at all."""

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO
from uuid import uuid4

from tasks.storage.spool import Spool

PARTIAL = re.compile(r"(.*\.)?[0-9a-f]{32}\.partial")
"""Names of files that are being written: by `write_local`, and by Zarr."""


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


def walked(folder: str) -> Iterator[dict[str, Any]]:
    """Files below a local folder, sorted by their whole paths; those that go meanwhile are left.

    Links are not followed: one to a folder is a file here, one to a file has its size.
    """
    with Spool() as spool:
        for name in spool.sorted(_names_in(folder), str):
            if name.endswith("/"):
                yield from walked(f"{folder.rstrip('/')}/{name[:-1]}")
                continue
            with suppress(FileNotFoundError):
                yield _info(f"{folder.rstrip('/')}/{name}")


def _names_in(folder: str) -> Iterator[str]:
    """Names in a folder, those of folders with a slash behind them."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")


def _info(path: str) -> dict[str, Any]:
    """Path, size in bytes and time of change of a file."""
    found = os.lstat(path)
    size = found.st_size
    if stat.S_ISLNK(found.st_mode):
        size = os.stat(path).st_size if os.path.exists(path) else 0
    return {"name": path, "size": size, "mtime": found.st_mtime, "created": found.st_ctime}


def partial_files(folder: str) -> Iterator[tuple[str, float]]:
    """Path below the folder, and time of change in seconds since 1970, of each file that somebody
    writes or was writing when it was killed; links are not followed.
    """
    for parent, _, names in os.walk(folder):
        for name in filter(PARTIAL.fullmatch, names):
            path = os.path.join(parent, name)
            with suppress(FileNotFoundError):  # it is whole by now
                yield posixpath.relpath(path, folder), os.lstat(path).st_mtime


def remove_empty_folders(folder: str) -> None:
    """Remove a folder and those below it, as far as they hold no file; links are not followed."""
    for parent, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(parent)
