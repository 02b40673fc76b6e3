"""Sharded Zarr v3 arrays: created at their final shape, written a whole shard at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec
from zarr.storage import FsspecStore, LocalStore

from stego_core.errors import DamageError
from tasks.workspace import s3
from tasks.workspace.keys import digest
from tasks.workspace.storage import Storage, read_errors, write_errors


@dataclass(frozen=True)
class Layout:
    """Shape of one array.

    Attributes:
        shape: final shape; the first axis counts rows.
        dtype: NumPy dtype name.
        shard_rows: rows that one writer owns.
        chunk_rows: rows that are read together; divides `shard_rows`.
    """

    shape: tuple[int, ...]
    dtype: str
    shard_rows: int
    chunk_rows: int = 1

    def rows(self, shard: int) -> tuple[int, int]:
        """First and past-the-last row of a shard."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.shape[0])


def shard_count(rows: int, shard_rows: int) -> int:
    """Shards that hold so many rows."""
    return -(-rows // shard_rows)


def create(storage: Storage, path: str, layouts: Mapping[str, Layout]) -> None:
    """Write the metadata of all arrays of a group; data come later.

    Chunks carry a CRC-32C, without which a flipped bit would be read as data. Empty chunks are
    written, because a missing one reads as zeros. Doing it again changes nothing.
    """
    with write_errors(storage.uri):
        with _damage(storage, path):
            group = (
                zarr.create_group(_store(storage, path), overwrite=False)
                if not _exists(storage, path)
                else zarr.open_group(_store(storage, path), mode="a")
            )
            absent = [name for name in layouts if name not in group]
        for name in absent:
            layout = layouts[name]
            group.create_array(
                name,
                shape=layout.shape,
                dtype=layout.dtype,
                chunks=(layout.chunk_rows, *layout.shape[1:]),
                shards=(layout.shard_rows, *layout.shape[1:]),
                compressors=[Crc32cCodec()],
                fill_value=0,
                config={"write_empty_chunks": True},
            )


def write_shard(
    storage: Storage, path: str, name: str, shard: int, values: NDArray[Any]
) -> tuple[int, str]:
    """Write one whole shard: the only way data get into an array.

    Two writers inside one shard would lose each other's rows without an error, so anything
    but exactly one shard is refused.

    Returns:
        bytes written and their checksum, for the record.
    """
    with _damage(storage, f"{path}/{name}"):
        array = open_array(storage, path, name, mode="r+")
    rows = array.shards[0]  # type: ignore[index]  # every array of ours is sharded
    first, last = shard * rows, min((shard + 1) * rows, array.shape[0])
    if shard < 0 or values.shape != (last - first, *array.shape[1:]) or values.dtype != array.dtype:
        raise ValueError(
            f"shard {shard} of {path}/{name} is {(last - first, *array.shape[1:])} {array.dtype}, "
            f"not {values.shape} {values.dtype}"
        )
    with write_errors(storage.uri):
        array[first:last] = values
        storage.flush("/".join([path, name, "c", str(shard), *["0"] * (array.ndim - 1)]))
    return values.nbytes, digest(np.ascontiguousarray(values).tobytes())


def read_rows(
    storage: Storage, path: str, name: str, rows: slice | NDArray[np.int64]
) -> NDArray[Any]:
    """Rows of an array, in the order asked for.

    Raises:
        DamageError: a checksum does not match, or the metadata cannot be read.
        IndexError: there is no such row; negative ones do not count from the end.
    """
    with _damage(storage, f"{path}/{name}"):
        array = open_array(storage, path, name)
        if isinstance(rows, slice):
            return np.asarray(array[rows])
        if len(rows) and not 0 <= rows.min() <= rows.max() < array.shape[0]:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {array.shape[0]} in {path}")
        if len(rows) and (np.diff(rows) == 1).all():  # a slice costs a tenth of the memory
            return np.asarray(array[int(rows[0]) : int(rows[-1]) + 1])
        unique, inverse = np.unique(rows, return_inverse=True)
        return np.asarray(array.oindex[unique])[inverse]


@contextmanager
def _damage(storage: Storage, path: str) -> Iterator[None]:
    """Zarr's complaints about what it reads, as an error a person can act on."""
    try:
        with read_errors(storage.uri):
            yield
    except (ValueError, RuntimeError, EOFError) as error:
        raise DamageError(
            f"{path} in {storage.uri} is damaged ({error}); remove that folder and run "
            "the same command again"
        ) from error


def open_array(storage: Storage, path: str, name: str, mode: Any = "r") -> zarr.Array[Any]:
    """The array itself, for its shape and dtype."""
    array = zarr.open_array(_store(storage, path), path=name, mode=mode)
    return array.with_config({"write_empty_chunks": True})


def _store(storage: Storage, path: str) -> LocalStore | FsspecStore:
    full = storage.full(path)
    if storage.is_local:
        return LocalStore(full)
    if full.startswith(("s3://", "s3a://")):
        filesystem = s3.filesystem(s3.current(), asynchronous=True)
        return FsspecStore(filesystem, path=full.split("://", 1)[1])
    return FsspecStore.from_url(full)


def _exists(storage: Storage, path: str) -> bool:
    return storage.exists(f"{path}/zarr.json")
