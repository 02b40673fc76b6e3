"""Parquet tables and safetensors files."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
Columns = Mapping[str, str]
"""Names of a table's columns and their Arrow types, such as "string" or "int64"."""
Column = Callable[[str], NDArray[Any]]
"""Gives a table's column by its name."""


def write_table(
    storage: Storage, path: str, values: Mapping[str, Sequence[Any]], columns: Columns
) -> None:
    """Write values as one Parquet file."""
    schema = _schema(columns)
    _write(storage, path, pa.table({name: values[name] for name in columns}, schema=schema))


def join_tables(
    storage: Storage,
    parts: Sequence[str],
    path: str,
    columns: Columns,
    computed: Mapping[str, Callable[[Column], NDArray[Any]]] | None = None,
) -> None:
    """Write the rows of several Parquet files, in order, as one.

    Columns that are `computed` take their values from the other columns of all rows together.
    """
    tables = [read_table(storage, part) for part in parts]
    table = pa.concat_tables([_schema(columns).empty_table(), *tables])

    def column(name: str) -> NDArray[Any]:
        return np.asarray(table[name].to_numpy())

    values = {name: compute(column) for name, compute in (computed or {}).items()}
    for name, array in values.items():
        number = table.schema.get_field_index(name)
        field = table.schema.field(number)
        table = table.set_column(number, field, pa.array(array).cast(field.type))
    _write(storage, path, table)


def _schema(columns: Columns) -> pa.Schema:
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])


def _write(storage: Storage, path: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=ROW_GROUP, write_page_checksum=True)
    storage.write(path, sink.getvalue())


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


def read_rows(storage: Storage, path: str, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Some rows of a table that does not change any more, as dictionaries, in the order asked for.

    Reads their row groups only, and keeps the last ones: a worker's next shard is near. An
    IndexError where there is no such row.
    """
    if not len(rows):
        return []
    groups = np.unique(rows // ROW_GROUP)
    table = pa.concat_tables([_group(storage, path, int(group)) for group in groups])
    positions = np.searchsorted(groups, rows // ROW_GROUP) * ROW_GROUP + rows % ROW_GROUP
    return list(table.take(positions).to_pylist())


@remembered(4)
def _group(storage: Storage, path: str, group: int) -> pa.Table:
    with _opened(storage, path) as parquet:
        return _row_group(parquet, group)


def row_count(storage: Storage, path: str) -> int:
    """Rows of a Parquet file, from its footer."""
    with _opened(storage, path) as parquet:
        return int(parquet.metadata.num_rows)


def stream_column(storage: Storage, path: str, column: str) -> Iterator[list[Any]]:
    """One column, a row group at a time, so that memory does not grow with the table."""
    with _opened(storage, path) as parquet:
        for group in range(parquet.num_row_groups):
            yield _row_group(parquet, group, [column]).column(column).to_pylist()


def read_columns(storage: Storage, path: str, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Some columns of a table as arrays; strings as objects, None for null."""
    with _opened(storage, path) as parquet:
        table = parquet.read(columns=list(columns), use_threads=False)
        return {name: table.column(name).to_numpy() for name in columns}


def stream_rows(storage: Storage, path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries of some columns, a row group at a time."""
    with _opened(storage, path) as parquet:
        for group in range(parquet.num_row_groups):
            yield from _row_group(parquet, group, columns).to_pylist()


def write_tensors(storage: Storage, path: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Write named arrays as one safetensors file; returns its bytes."""
    ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    content = bytes(safetensors.numpy.save(ordered))
    storage.write(path, content)
    return content


def read_tensors(storage: Storage, path: str) -> dict[str, NDArray[Any]]:
    """Named arrays of a file; nothing is executed on loading. A DamageError if not safetensors."""
    try:
        return dict(safetensors.numpy.load(storage.read(path)))
    except safetensors.SafetensorError as error:
        raise DamageError(f"{path} in {storage.uri} is damaged: {error}") from None
