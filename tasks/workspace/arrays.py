"""Sharded Zarr v3 arrays: created at their final shape, written a whole shard at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.buffer import cpu
from zarr.codecs import Crc32cCodec
from zarr.storage import FsspecStore, LocalStore, MemoryStore, StorePath, WrapperStore

from stego_core.errors import DamageError
from tasks.storage import s3
from tasks.storage.fsspec_packages import asynchronous
from tasks.storage.refusal_errors import read_errors, write_errors
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage
from tasks.storage.threads import ContextThreadPool
from tasks.workspace.keys import digest

DENSE = 4  # a distant shard is fetched whole where at least one in DENSE of its rows is read
ROWS_AT_ONCE = 32  # scattered rows that are read at the same time


@dataclass(frozen=True)
class Layout:
    """Shape of one array."""

    shape: tuple[int, ...]  # final shape; the first axis counts rows
    dtype: str  # NumPy dtype name
    shard_rows: int  # rows that one writer owns
    chunk_rows: int = 1  # rows that are read together; divides `shard_rows`


def shard_count(rows: int, shard_rows: int) -> int:
    """How many shards the rows make."""
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
            group = zarr.open_group(_store(storage, path), mode="a", zarr_format=3)
            absent = {name: layout for name, layout in layouts.items() if name not in group}
        for name, layout in absent.items():
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
    file = f"{path}/{name}/{_shard_file(array, shard)}"
    with write_errors(storage.uri):
        try:
            array[first:last] = values
        except (ValueError, RuntimeError, EOFError):  # Zarr first reads what is there: damaged data
            storage.remove(file)
            array[first:last] = values
        storage.flush(file)
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
            _require_rows(array, rows)
            if (np.diff(rows) == 1).all():  # a slice costs a tenth of the memory
                rows = slice(int(rows[0]), int(rows[-1]) + 1)
        if isinstance(rows, slice):
            return np.asarray(_readable(storage, f"{path}/{name}", array, rows)[rows])
        unique, inverse = np.unique(rows, return_inverse=True)
        values = _readable(storage, f"{path}/{name}", array, unique).oindex[unique]
        return np.asarray(values)[inverse]


def read_scattered(storage: Storage, path: str, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """A few rows that lie far apart, in the order asked for; faster than `read_rows` for these.

    For rows that do not follow each other, Zarr builds an index of every value. Here each row is a
    read of its own, many of them at the same time.

    Raises: as `read_rows`.
    """
    with _damage(storage, f"{path}/{name}"):
        array = open_array(storage, path, name)
        if not len(rows):
            return np.empty((0, *array.shape[1:]), array.dtype)
        _require_rows(array, rows)
        readable = _readable(storage, f"{path}/{name}", array, np.unique(rows))
        with ContextThreadPool(ROWS_AT_ONCE) as pool:
            return np.stack(list(pool.map(readable.__getitem__, rows.tolist())))


def _require_rows(array: zarr.Array[Any], rows: NDArray[np.int64]) -> None:
    if not 0 <= rows.min() <= rows.max() < array.shape[0]:
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {array.shape[0]} in {array.path}")


@contextmanager
def _damage(storage: Storage, path: str) -> Iterator[None]:
    """Turn Zarr's errors of reading into errors that a person can act on."""
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
    # Metadata never change: those of a distant array are read once in a run.
    return (_opened if storage.is_local else _opened_once)(storage, path, name, mode)


def shard_rows(array: zarr.Array[Any]) -> int:
    """Rows of one shard."""
    assert array.shards is not None  # every array of ours is sharded
    return int(array.shards[0])


def _opened(storage: Storage, path: str, name: str, mode: Any) -> zarr.Array[Any]:
    # Without its format zarr asks for the files of the older one as well.
    array = zarr.open_array(_store(storage, path), path=name, mode=mode, zarr_format=3)
    return array.with_config({"write_empty_chunks": True})


_opened_once = remembered(64)(_opened)


class _MeasuredStore(FsspecStore):
    """A store of Azure's service, which knows no ranges counted from a file's end."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if isinstance(byte_range, SuffixByteRequest):
            try:
                size = await self.getsize(key)
            except FileNotFoundError:
                return None
            byte_range = RangeByteRequest(max(0, size - byte_range.suffix), size)
        return await super().get(key, prototype, byte_range)


class _PrefetchedStore(WrapperStore[Store]):
    """A store of which some files are in memory; a missing file is an error, not zeros."""

    def __init__(self, store: Store, files: Mapping[str, bytes]) -> None:
        super().__init__(store)
        self.names = set(files)
        self.memory = MemoryStore({name: cpu.Buffer.from_bytes(files[name]) for name in files})

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        store = self.memory if key in self.names else self._store
        content = await store.get(key, prototype, byte_range)
        if content is None:
            raise ValueError(f"{key} is not there")  # zarr would read it as zeros
        return content


def _readable(
    storage: Storage, path: str, array: zarr.Array[Any], rows: slice | NDArray[np.int64]
) -> zarr.Array[Any]:
    """The array for reading these rows; distant shards of which many rows are read are fetched.

    Zarr sends a request for each chunk of a shard, unless it reads all of them.
    """
    files: dict[str, bytes] = {}
    if not storage.is_local:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(array.shape[0]))
        size = shard_rows(array)
        shards, counts = np.unique(rows // size, return_counts=True)
        dense = shards[counts * DENSE >= np.minimum(array.shape[0] - shards * size, size)]
        names = [_shard_file(array, int(shard)) for shard in dense]
        contents = storage.read_many([f"{path}/{name}" for name in names])
        pairs = zip(names, contents, strict=True)
        files = {f"{array.store_path.path}/{name}": content for name, content in pairs if content}
    store = StorePath(_PrefetchedStore(array.store, files), array.store_path.path)
    return zarr.Array(zarr.AsyncArray(array.metadata, store))


def _shard_file(array: zarr.Array[Any], shard: int) -> str:
    return "/".join(["c", str(shard), *["0"] * (array.ndim - 1)])


def _store(storage: Storage, path: str) -> LocalStore | FsspecStore:
    full = storage.full(path)
    if storage.is_local:
        return LocalStore(full)
    if s3.is_s3(full):
        from tasks.storage import s3_client  # it takes a second to import

        filesystem = s3_client.filesystem(s3.current_service(), asynchronous=True)
        return FsspecStore(filesystem, path=full.split("://", 1)[1])
    filesystem, inside = asynchronous(full)
    kind = _MeasuredStore if full.startswith(("az://", "abfs://", "abfss://")) else FsspecStore
    return kind(filesystem, path=inside)
