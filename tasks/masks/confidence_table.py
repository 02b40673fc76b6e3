"""How certain each image's mask is: a table per dump beside its masks."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import WorkspaceError
from stego_core.masks.margins import MarginSums, uncertainty
from tasks.corpus.index import IndexReader
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary

SINCE_VERSION = 5
"""The version of masks since which the table has all these columns."""
IMAGE_COLUMNS = {
    "row": "int64",
    "image_id": "string",
    "path": "string",
    "height": "int32",
    "width": "int32",
    "doubt": "float",
    "margin": "float",
    "doubtful": "float",
}
"""Columns of an image, and their types; "doubt" is its uncertainty."""
VALUES = ("doubt", "margin", "doubtful")
"""Those of them that come from the mask."""
ROW, VALUE = np.dtype("<i8"), np.dtype("<f4")
"""Packed numbers and values of rows."""
CLASS_COLUMNS = ("share", "margin", "doubtful")
"""Columns of each class c, as share_c, …: the share of the image's pixels, the mean of its pixels'
margins, the share of its pixels that are uncertain. The last two are null where the image has none
of it."""


class UncertainImage(NamedTuple):
    """An image that people should look at, all shares 0 to 1.

    Attributes:
        dump, row, image_id, path: which image.
        doubt: uncertainty of its pixels and of its classes (`stego_core.masks.margins`).
        margin: mean margin of its pixels.
        doubtful: share of its pixels that are uncertain.
    """

    dump: str
    row: int
    image_id: str
    path: str
    doubt: float
    margin: float
    doubtful: float


def columns(classes: int) -> dict[str, str]:
    """Names and types of the table's columns."""
    return {**IMAGE_COLUMNS, **dict.fromkeys(_value_names(classes)[len(VALUES) :], "float")}


def _value_names(classes: int) -> list[str]:
    """Columns that come from an image's mask, in the order in which they are packed."""
    return [*VALUES, *(f"{name}_{c}" for c in range(classes) for name in CLASS_COLUMNS)]


def packed(rows: Mapping[int, MarginSums]) -> dict[str, str]:
    """Rows of the table for a shard's record; `doubt` is of the image alone: others are not known.

    Args:
        rows: number in the index and sums of each image that has a mask, ascending.

    Returns:
        Base64 of their numbers, int64, and of their values, float32; both little endian.
    """
    values = np.array([_values(sums) for sums in rows.values()], VALUE)
    return {
        "rows": base64.b64encode(np.array(list(rows), ROW).tobytes()).decode(),
        "values": base64.b64encode(values.tobytes()).decode(),
    }


def _values(sums: MarginSums) -> NDArray[np.float64]:
    """As `_value_names`; NaN where the image has no pixel of a class."""
    pixels = np.where(sums.pixels > 0, sums.pixels, np.nan)
    per_class = sums.shares(), sums.margins / pixels, sums.doubtful / pixels
    own = sums.own_uncertainty, sums.margin, sums.uncertain_share
    return np.concatenate([own, np.stack(per_class, axis=-1).ravel()])


class PackedTable:
    """The table before it is written: rows as records bring them, in a file of the local disk."""

    def __init__(self, rows: BinaryIO, values: BinaryIO) -> None:
        """Empty, kept in two empty files."""
        self._rows, self._values = rows, values

    @classmethod
    @contextmanager
    def begun(cls) -> Iterator["PackedTable"]:
        """An empty one, whose files are removed in the end."""
        with TemporaryFile() as rows, TemporaryFile() as values:
            yield cls(rows, values)

    def add(self, part: Mapping[str, str]) -> None:
        """Append the rows of a shard, as `packed`."""
        self._rows.write(base64.b64decode(part["rows"]))
        self._values.write(base64.b64decode(part["values"]))

    def add_part(self, folder: Folder, shard: int, classes: int) -> None:
        """Append the rows of a shard of an earlier version, which has a table of its own."""
        names = _value_names(classes)
        part = f"{folder.path}/{layout.PARTS}/confidence-{shard:06d}.parquet"
        columns = tables.read_columns(folder.storage, part, ["row", *names])
        self._rows.write(columns["row"].astype(ROW).tobytes())
        values = np.stack([columns[name] for name in names], axis=-1)
        self._values.write(values.astype(VALUE).tobytes())

    def write(self, folder: Folder, index: IndexReader, dump_sums: MarginSums) -> None:
        """Write the dump's table into the folder of its masks.

        Args:
            folder: of the masks.
            index: of the dump; gives each image's id, path and size.
            dump_sums: of all its masks.
        """
        classes = len(dump_sums.pixels)
        parts = self._joined(index, dump_sums, _value_names(classes))
        tables.write_parts(folder.storage, path(folder), parts, columns(classes))

    def _joined(
        self, index: IndexReader, dump_sums: MarginSums, names: Sequence[str]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        for file in (self._rows, self._values):
            file.seek(0)
        first = 0
        for group in index.columns(["image_id", "path", "height", "width"]):
            end = first + len(group["path"])
            rows = self._next_rows(end)
            content = self._values.read(VALUE.itemsize * len(rows) * len(names))
            values = np.frombuffer(content, VALUE).reshape(len(rows), len(names)).copy()
            shares = values[:, len(VALUES) :: len(CLASS_COLUMNS)]
            values[:, 0] = uncertainty(values[:, 0], shares, dump_sums)
            entries = {name: column[rows - first] for name, column in group.items()}
            yield {"row": rows, **entries, **dict(zip(names, values.T, strict=True))}
            first = end

    def _next_rows(self, end: int) -> NDArray[np.int64]:
        """Numbers below `end` that were not read yet."""
        place = self._rows.tell()
        rows = np.frombuffer(self._rows.read(ROW.itemsize * tables.ROW_GROUP), ROW)
        count = int(np.searchsorted(rows, end))
        self._rows.seek(place + ROW.itemsize * count)
        return rows[:count]


def has_confidence(folder: Folder) -> bool:
    """Whether masks came with the whole table; earlier versions stored less of it."""
    return bool(folder.manifest()["version"] >= SINCE_VERSION)


def dumps_with_confidence(summary: Summary, newest: int = 0) -> list[tuple[str, Folder]]:
    """Dumps whose masks came with their confidence, and the folders of these masks; of so many
    newest ones, or with 0 of all.
    """
    masks = {dump: entry.stages.get("masks") for dump, entry in summary.catalog.items()}
    having = [
        (dump, summary.workspace.folder(layout.masks(part["key"], dump)))
        for dump, part in masks.items()
        if part and (part["version"] or 0) >= SINCE_VERSION
    ]
    return having[-newest:]


def least_certain(summary: Summary, most: int) -> list[UncertainImage]:
    """The most uncertain images over all dumps, least certain first.

    Raises:
        WorkspaceError: there are no masks, or an earlier version made them.
    """
    folders = dumps_with_confidence(summary)
    if not folders:
        raise WorkspaceError(
            f"{summary.workspace.storage.uri} has no masks with their confidence; make them with "
            "`stego masks`"
        )
    images: list[UncertainImage] = []
    possible = _dumps_with_any(summary, most)
    for dump, folder in folders:
        if dump not in possible:
            continue
        doubts = tables.read_columns(folder.storage, path(folder), ["doubt"])["doubt"]
        first = np.argsort(-doubts, kind="stable")[:most]
        rows = tables.read_rows(folder.storage, path(folder), first, UncertainImage._fields[1:])
        images += [UncertainImage(dump, **row) for row in rows]
        images = sorted(images, key=lambda image: -image.doubt)[:most]
    return images


def _dumps_with_any(summary: Summary, most: int) -> set[str]:
    """Dumps that any of the most uncertain images can be of, as far as the catalog tells."""
    masks = {dump: entry.stages.get("masks", {}) for dump, entry in summary.catalog.items()}
    known = {dump: [d for *_, d in part.get("uncertain") or ()] for dump, part in masks.items()}
    ranked = sorted((doubt for doubts in known.values() for doubt in doubts), reverse=True)
    least = ranked[most - 1] if len(ranked) >= most else -1.0
    return {dump for dump, doubts in known.items() if not doubts or doubts[0] >= least}


def stream_columns(folder: Folder, names: Sequence[str]) -> Iterator[dict[str, NDArray[Any]]]:
    """Some columns of a dump's table, a few thousand rows at a time."""
    return tables.stream_columns(folder.storage, path(folder), names)


def path(folder: Folder) -> str:
    """The file of a dump's table."""
    return f"{folder.path}/{layout.CONFIDENCE_FILE}"
