"""Sharded Zarr v3 arrays: created at their final shape, written a whole shard at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, Store
from zarr.buffer import cpu
from zarr.codecs import Crc32cCodec
from zarr.storage import FsspecStore, LocalStore, MemoryStore, StorePath, WrapperStore

from stego_core.errors import DamageError
from tasks.storage import s3
from tasks.storage.refusal_errors import read_errors, write_errors
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.storage.threads import ContextThreadPool
from tasks.workspace.keys import digest

DENSE = 4
"""A distant shard is fetched whole where at least one in so many of its rows is wanted."""
ROWS_AT_ONCE = 32
"""Scattered rows that are read at the same time."""


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
        return shard_span(shard, self.shard_rows, self.shape[0])


def shard_count(rows: int, shard_rows: int) -> int:
    """Shards that hold so many rows."""
    return -(-rows // shard_rows)


def shard_span(shard: int, shard_rows: int, rows: int) -> tuple[int, int]:
    """First and past-the-last row of a shard; the last shard of all may be shorter."""
    return shard * shard_rows, min((shard + 1) * shard_rows, rows)


def create(storage: Storage, path: str, layouts: Mapping[str, Layout]) -> None:
    """Write the metadata of all arrays of a group; data come later.

    Chunks carry a CRC-32C, without which a flipped bit would be read as data. Empty chunks are
    written, because a missing one reads as zeros. Doing it again changes nothing.
    """
    with write_errors(storage.uri):
        with _damage(storage, path):
            group = (
                zarr.create_group(_store(storage, path), overwrite=False, zarr_format=3)
                if not _exists(storage, path)
                else zarr.open_group(_store(storage, path), mode="a", zarr_format=3)
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
    first, last = shard_span(shard, shard_rows(array), array.shape[0])
    if shard < 0 or values.shape != (last - first, *array.shape[1:]) or values.dtype != array.dtype:
        raise ValueError(
            f"shard {shard} of {path}/{name} is {(last - first, *array.shape[1:])} {array.dtype}, "
            f"not {values.shape} {values.dtype}"
        )
    with write_errors(storage.uri):
        array[first:last] = values
        storage.flush(f"{path}/{name}/{_shard_file(array, shard)}")
    return values.nbytes, digest(np.ascontiguousarray(values).tobytes())


def read_rows(
    storage: Storage, path: str, name: str, rows: slice | NDArray[np.int64]
) -> NDArray[Any]:
    """Rows of an array, in the order asked for.

    Raises:
        DamageError: a checksum does not match, a shard is not there, or the metadata cannot be
            read.
        IndexError: there is no such row; negative ones do not count from the end.
    """
    with _damage(storage, f"{path}/{name}"):
        array = open_array(storage, path, name)
        if not isinstance(rows, slice) and len(rows):
            if not 0 <= rows.min() <= rows.max() < array.shape[0]:
                raise IndexError(f"rows {rows.min()} to {rows.max()} of {array.shape[0]} in {path}")
            if (np.diff(rows) == 1).all():  # a slice costs a tenth of the memory
                rows = slice(int(rows[0]), int(rows[-1]) + 1)
        if isinstance(rows, slice):
            return np.asarray(_readable(storage, f"{path}/{name}", array, rows)[rows])
        unique, inverse = np.unique(rows, return_inverse=True)
        found = _readable(storage, f"{path}/{name}", array, unique).oindex[unique]
        return np.asarray(found)[inverse]


def read_scattered(storage: Storage, path: str, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """A few rows that lie far apart, in the order asked for; faster than `read_rows` for these.

    Zarr sets an index up for every value of rows that do not follow each other. Here each row is a
    read of its own, many of them at the same time.

    Raises: as `read_rows`.
    """
    with _damage(storage, f"{path}/{name}"):
        array = open_array(storage, path, name)
        if not len(rows):
            return np.empty((0, *array.shape[1:]), array.dtype)
        if not 0 <= rows.min() <= rows.max() < array.shape[0]:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {array.shape[0]} in {path}")
        readable = _readable(storage, f"{path}/{name}", array, np.unique(rows))
        with ContextThreadPool(ROWS_AT_ONCE) as pool:
            return np.stack(list(pool.map(readable.__getitem__, rows.tolist())))


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
    if storage.is_local:
        return _opened(storage, path, name, mode)
    return _distant(storage, path, name, mode)


@remembered(64)
def _distant(storage: Storage, path: str, name: str, mode: Any) -> zarr.Array[Any]:
    """A distant array, whose metadata are asked for once: they never change."""
    return _opened(storage, path, name, mode)


def shard_rows(array: zarr.Array[Any]) -> int:
    """Rows of one shard."""
    assert array.shards is not None  # every array of ours is sharded
    return int(array.shards[0])


def _opened(storage: Storage, path: str, name: str, mode: Any) -> zarr.Array[Any]:
    # Without its format zarr asks for the files of the older one as well.
    array = zarr.open_array(_store(storage, path), path=name, mode=mode, zarr_format=3)
    return array.with_config({"write_empty_chunks": True})


class _Present(WrapperStore[Store]):
    """A store whose shards are all there, some of them fetched already."""

    def __init__(self, store: Store, files: Mapping[str, bytes]) -> None:
        super().__init__(store)
        self.names = set(files)
        self.here = MemoryStore({name: cpu.Buffer.from_bytes(files[name]) for name in files})

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        store = self.here if key in self.names else self._store
        found = await store.get(key, prototype, byte_range)
        if found is None:
            raise ValueError(f"{key} is not there")  # zarr would read it as zeros
        return found


def _readable(
    storage: Storage, path: str, array: zarr.Array[Any], rows: slice | NDArray[np.int64]
) -> zarr.Array[Any]:
    """The array for reading these rows; distant shards of which many are wanted are here already.

    Zarr sends a request for each chunk of a shard, unless it wants all of them.
    """
    files: dict[str, bytes] = {}
    if not storage.is_local:
        wanted = np.arange(*rows.indices(array.shape[0])) if isinstance(rows, slice) else rows
        size = shard_rows(array)
        numbers, counts = np.unique(wanted // size, return_counts=True)
        held = np.minimum(array.shape[0] - numbers * size, size)
        names = [_shard_file(array, int(n)) for n in numbers[counts * DENSE >= held]]
        contents = storage.read_many([f"{path}/{name}" for name in names])
        files = {
            f"{array.store_path.path}/{name}": content
            for name, content in zip(names, contents, strict=True)
            if content is not None
        }
    place = StorePath(_Present(array.store, files), array.store_path.path)
    return zarr.Array(zarr.AsyncArray(array.metadata, place))


def _shard_file(array: zarr.Array[Any], shard: int) -> str:
    return "/".join(["c", str(shard), *["0"] * (array.ndim - 1)])


def _store(storage: Storage, path: str) -> LocalStore | FsspecStore:
    full = storage.full(path)
    if storage.is_local:
        return LocalStore(full)
    if s3.is_s3(full):
        filesystem = s3.filesystem(s3.current_service(), asynchronous=True)
        return FsspecStore(filesystem, path=full.split("://", 1)[1])
    return FsspecStore.from_url(full)


def _exists(storage: Storage, path: str) -> bool:
    return storage.exists(f"{path}/zarr.json")
