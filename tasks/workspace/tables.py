"""Parquet tables and safetensors files."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from numpy.typing import NDArray

from stego_core.errors import DamageError
from tasks.storage.run_cache import remembered
from tasks.storage.storage import Storage

ROW_GROUP = 4096  # rows read together; a worker fetches the groups of its own rows only
KEPT_GROUPS = 4  # row groups that a process keeps
Columns = Mapping[str, str]
"""Names of a table's columns and their Arrow types, such as "string" or "int64"."""


def write_table(
    storage: Storage, path: str, values: Mapping[str, Sequence[Any]], columns: Columns
) -> None:
    """Write values as one Parquet file."""
    table = pa.table({name: values[name] for name in columns}, schema=_schema(columns))
    sink = io.BytesIO()
    with _written(sink, table.schema) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)
    storage.write(path, sink.getvalue())


def write_parts(
    storage: Storage, path: str, parts: Iterable[Mapping[str, Any]], columns: Columns
) -> None:
    """Write the rows of several parts, in order, as one Parquet file; NaN is written as null.

    A part has a list or an array for each column.

    It grows in a file of the local disk, so that memory does not grow with the rows.
    """
    schema = _schema(columns)
    tables = (
        pa.table(
            [pa.array(part[name], schema.field(name).type, from_pandas=True) for name in columns],
            schema=schema,
        )
        for part in parts
    )
    _write_tables(storage, path, tables, schema)


def join_tables(storage: Storage, parts: Iterable[str], path: str, columns: Columns) -> None:
    """Write the rows of several Parquet files, in order, as one."""
    _write_tables(storage, path, (read_table(storage, part) for part in parts), _schema(columns))


def _write_tables(
    storage: Storage, path: str, tables: Iterable[pa.Table], schema: pa.Schema
) -> None:
    with NamedTemporaryFile(suffix=".parquet") as file:
        with _written(file, schema) as writer:
            for table in regrouped(tables, ROW_GROUP):
                writer.write_table(table.select(schema.names).cast(schema))
        file.flush()
        storage.upload(path, Path(file.name))


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The rows of several tables, in order, as tables of so many rows; the last has the rest."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        if count >= rows:
            joined = pa.concat_tables(waiting)
            whole = count - count % rows
            yield from (joined.slice(first, rows) for first in range(0, whole, rows))
            waiting, count = [joined.slice(whole)], count % rows
    if count:
        yield pa.concat_tables(waiting)


def _schema(columns: Columns) -> pa.Schema:
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def _written(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(sink, schema, write_page_checksum=True)


def read_table(storage: Storage, path: str) -> pa.Table:
    """A whole Parquet file; a DamageError if it is not Parquet, or not what was written."""
    content = io.BytesIO(storage.read(path))
    with _damage(storage, path):
        return _parquet(content).read(use_threads=False)


@contextmanager
def _opened(storage: Storage, path: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file for reading parts of, whose pages are checked."""
    with storage.opened(path) as file, _damage(storage, path):
        yield _parquet(file)


def _parquet(file: BinaryIO) -> pq.ParquetFile:
    """A Parquet file that the calling thread alone reads, `use_threads=False` at each read.

    Arrow's own threads release the file some time after a read has returned. Where Python ends
    meanwhile, the process aborts: "terminate called without an active exception".
    """
    return pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)


def _row_group(
    parquet: pq.ParquetFile, group: int, columns: Sequence[str] | None = None
) -> pa.Table:
    names = None if columns is None else list(columns)
    return parquet.read_row_group(group, columns=names, use_threads=False)


@contextmanager
def _damage(storage: Storage, path: str) -> Iterator[None]:
    """Turn Arrow's errors into DamageError, but for an OSError with a number: it is the disk's."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        raise DamageError(
            f"{path} in {storage.uri} is damaged ({error}); remove its folder and run the same "
            "command again"
        ) from None


def read_rows(
    storage: Storage, path: str, rows: NDArray[np.int64], columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Some rows of a table that does not change any more, as dictionaries, in the order asked for.

    Reads their row groups only, and keeps the last ones: a worker's next shard is near. An
    IndexError where there is no such row.

    Args:
        storage, path: of the table.
        rows: (n,) their numbers.
        columns: those that are wanted; None: all.
    """
    if not len(rows):
        return []
    order = np.argsort(rows, kind="stable")
    groups, first = np.unique(rows[order] // ROW_GROUP, return_index=True)
    wanted = zip(groups.tolist(), np.split(rows[order] % ROW_GROUP, first[1:]), strict=True)
    names = None if columns is None else tuple(columns)
    if len(groups) <= KEPT_GROUPS:
        parts = [_group(storage, path, group, names).take(_numbers(own)) for group, own in wanted]
    else:
        with _opened(storage, path) as parquet:
            parts = [_row_group(parquet, group, names).take(_numbers(own)) for group, own in wanted]
    return list(pa.concat_tables(parts).take(_numbers(np.argsort(order))).to_pylist())


@remembered(KEPT_GROUPS)
def _group(storage: Storage, path: str, group: int, columns: tuple[str, ...] | None) -> pa.Table:
    with _opened(storage, path) as parquet:
        return _row_group(parquet, group, columns)


def row_count(storage: Storage, path: str) -> int:
    """Rows of a Parquet file, from its footer."""
    with _opened(storage, path) as parquet:
        return int(parquet.metadata.num_rows)


def columns_of(storage: Storage, path: str) -> dict[str, str]:
    """Names of a table's columns and their Arrow types."""
    with _opened(storage, path) as parquet:
        return {field.name: str(field.type) for field in parquet.schema_arrow}


def verify_table(storage: Storage, path: str) -> None:
    """Read every page of a Parquet file, a row group at a time; a DamageError if one is damaged."""
    with _opened(storage, path) as parquet:
        for group in range(parquet.num_row_groups):
            _row_group(parquet, group)


def stream_column(storage: Storage, path: str, column: str) -> Iterator[list[Any]]:
    """One column, a row group at a time, so that memory does not grow with the table."""
    for table in _stream(storage, path, [column]):
        yield table.column(column).to_pylist()


def read_columns(storage: Storage, path: str, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Some columns of a table as arrays; strings as objects, None for null."""
    with _opened(storage, path) as parquet:
        table = parquet.read(columns=list(columns), use_threads=False)
        return {name: _values(table.column(name)) for name in columns}


def _numbers(rows: NDArray[np.int64]) -> pa.Array:
    """Numbers of rows for Arrow.

    `pa.array` and `to_numpy` import pandas where it is installed: half a second and 30 MiB.
    """
    content = pa.py_buffer(np.ascontiguousarray(rows, np.int64))
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, content])


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as an array; without pandas where it holds numbers only."""
    numbers = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if not numbers or column.null_count or not len(column):
        return np.asarray(column.to_numpy())
    return np.concatenate([np.from_dlpack(chunk) for chunk in column.chunks])


def stream_columns(
    storage: Storage, path: str, columns: Sequence[str]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Some columns of a table as arrays, a row group at a time; strings as objects."""
    for table in _stream(storage, path, columns):
        yield {name: _values(table.column(name)) for name in columns}


def _stream(storage: Storage, path: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    with _opened(storage, path) as parquet:
        for group in range(parquet.num_row_groups):
            yield _row_group(parquet, group, columns)


def stream_rows(
    storage: Storage, path: str, columns: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries of some columns, or of all, a row group at a time."""
    for table in _stream(storage, path, columns):
        yield from table.to_pylist()


def write_tensors(storage: Storage, path: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Write named arrays as one safetensors file; returns its bytes."""
    content = encode_tensors(tensors)
    storage.write(path, content)
    return content


def encode_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file of named arrays; equal arrays give equal bytes."""
    ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    return bytes(safetensors.numpy.save(ordered))


def read_tensors(storage: Storage, path: str) -> dict[str, NDArray[Any]]:
    """Named arrays of a file; nothing is executed on loading. A DamageError if not safetensors."""
    try:
        return dict(safetensors.numpy.load(storage.read(path)))
    except safetensors.SafetensorError as error:
        raise DamageError(f"{path} in {storage.uri} is damaged: {error}") from None
