"""Lists of addresses: CSV, TSV, JSON lines, Parquet, or text with one address a line."""

import csv
import io
import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from stego_core.errors import DamageError, InputError
from tasks.files.image_names import ending
from tasks.sources.members import Flaw
from tasks.storage.redaction import redacted
from tasks.storage.storage import Storage
from tasks.workspace import tables

USUAL = {
    "url": ("url", "uri", "path", "image", "file", "filename", "file_name", "image_url",
            "image_path", "image_uri"),
    "id": ("id", "image_id", "key"),
    "label": ("label", "mask", "label_url", "label_path", "label_uri", "mask_path"),
    "split": ("split",),
    "caption": ("caption",),
}  # fmt: skip
"""Names of columns that are known without options, the likeliest first."""
LABEL_ENDINGS = {".png", ".tif", ".tiff", ".bmp", ".gif", ".webp"}
"""A usual column of labels counts as one if its first value ends so: others hold words."""
JSON_LINES = (".jsonl", ".ndjson")
csv.field_size_limit(2**20)


class Row(NamedTuple):
    """A row of a list, as it stands there."""

    line: int  # from 1; of Parquet its row
    values: Mapping[str, str]  # by the keys of USUAL; those without a value are left out


class ListColumns(NamedTuple):
    """Names of columns that options give; None: a usual one, if it is there."""

    url: str | None = None
    id: str | None = None
    label: str | None = None
    split: str | None = None
    caption: str | None = None


def rows_of(uri: str, columns: ListColumns) -> Iterator[Row | Flaw]:
    """Rows of a list, and flaws with their lines, in order.

    Raises:
        InputError: it cannot be read at all, has no rows, or lacks a column.
    """
    shown, used, first = redacted(uri), dict[str, str](), dict[str, Any]()
    try:
        for line, record in _records(uri):
            if isinstance(record, str):
                yield Flaw("list line", f"{shown}, line {line}", record)
                continue
            if not first:
                first = dict(record)
                if kind_of(uri) not in JSON_LINES:  # whose lines need not have the same keys
                    _require(shown, columns, first)
            used |= _found(columns, record, used)
            values = {key: _text(record.get(name)) for key, name in used.items()}
            if values.get("url"):
                yield Row(line, {key: value for key, value in values.items() if value})
            else:
                yield Flaw("list line", f"{shown}, line {line}", "it has no address")
    except DamageError:
        raise InputError(f"the list {shown} is no Parquet file, or is damaged") from None
    except OSError as error:
        raise InputError(f"the list {shown} cannot be read: {error.strerror or error}") from None
    if not first:
        raise InputError(f"the list {shown} has no rows; expected at least one address")
    _require(shown, columns, {**dict.fromkeys(used.values()), **first})


def _found(
    columns: ListColumns, record: Mapping[str, Any], used: Mapping[str, str]
) -> dict[str, str]:
    """Columns of this record for the keys that have none yet."""
    found = {}
    for key, names in USUAL.items():
        named = getattr(columns, key)
        column = next((name for name in ((named,) if named else names) if name in record), None)
        if key in used or column is None:
            continue
        if key != "label" or named or _may_be_label(_text(record[column])):
            found[key] = column
    return found


def _may_be_label(value: str) -> bool:
    """Whether a value is the address of a label, and no word."""
    return ending(value.partition("?")[0]) in LABEL_ENDINGS


def _require(shown: str, columns: ListColumns, record: Mapping[str, Any]) -> None:
    """Raise an InputError if there is no column of addresses, or one lacks that is named."""
    for key, names in USUAL.items():
        named = getattr(columns, key)
        if named in record or (not named and (key != "url" or set(names) & set(record))):
            continue
        what = f"no column {named!r}" if named else "no column that is known to have addresses"
        raise InputError(
            f"the list {shown} has {what}; it has {', '.join(map(repr, record))}: name the right "
            f"one with --{key}-column (a list without a header is a .txt, one address a line)"
        )


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def kind_of(uri: str) -> str:
    """The ending of a list, which says how it is read."""
    return posixpath.splitext(uri.partition("?")[0])[1].lower()


Records = Iterator[tuple[int, Mapping[str, Any] | str]]
"""Line and fields of each record; a sentence instead of fields that cannot be read."""


def _records(uri: str) -> Records:
    storage = Storage(uri)
    kind = kind_of(uri)
    if kind == ".parquet":
        yield from enumerate(tables.stream_rows(storage, "", None), 1)
        return
    with storage.opened("") as file:
        if kind in JSON_LINES:
            yield from _json_lines(file)
        elif kind in (".csv", ".tsv"):
            yield from _delimited(file, "\t" if kind == ".tsv" else ",")
        else:
            yield from _addresses(file)


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | None]]:
    """Lines of a text; None for one that is not UTF-8."""
    for number, raw in enumerate(io.BufferedReader(_Raw(file)), 1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, None


class _Raw(io.RawIOBase):
    """A file of a storage, as `io` wants it: only reading is asked of those."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def _addresses(file: BinaryIO) -> Records:
    for number, line in _lines(file):
        if line is None:
            yield number, "it is not UTF-8"
        elif line.strip() and not line.startswith("#"):
            yield number, {"url": line.strip()}


def _json_lines(file: BinaryIO) -> Records:
    for number, line in _lines(file):
        if line is not None and not line.strip():
            continue
        try:
            record = None if line is None else json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"it is not JSON: {error}"
            continue
        yield number, record if isinstance(record, dict) else "it is no JSON object"


def _delimited(file: BinaryIO, delimiter: str) -> Records:
    text = io.TextIOWrapper(
        io.BufferedReader(_Raw(file)), "utf-8-sig", "surrogateescape", newline=""
    )
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"it cannot be read: {error}"
            continue
        if not fields:
            continue
        if header is None:
            header = [name.strip() for name in fields]
        elif len(fields) != len(header):
            yield line, f"it has {len(fields)} fields, the header {len(header)}"
        else:
            yield line, dict(zip(header, fields, strict=True))
