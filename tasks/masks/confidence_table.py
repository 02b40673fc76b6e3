"""How certain each image's mask is: a table per dump beside its masks."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import WorkspaceError
from stego_core.masks.margins import MarginSums, uncertainty
from tasks.corpus.index import Entry
from tasks.storage.storage import Storage
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
CLASS_COLUMNS = ("share", "margin", "doubtful")
"""Columns of each class c, as share_c, …: the share of the image's pixels, the mean of its pixels'
margins, the share of its pixels that are uncertain. The last two are null where the image has none
of it."""


class ConfidenceRow(NamedTuple):
    """One image: row and entry in the dump's index, and sums of its mask's margins."""

    row: int
    entry: Entry
    sums: MarginSums


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
    per_class = {f"{name}_{c}": "float" for c in range(classes) for name in CLASS_COLUMNS}
    return {**IMAGE_COLUMNS, **per_class}


def write_part(
    storage: Storage, masks_path: str, shard: int, rows: Sequence[ConfidenceRow], classes: int
) -> None:
    """Write one shard's rows; `doubt` is of the image alone: other shards are not known yet."""
    entries = [_values(row, classes) for row in rows]
    values = {name: [entry[name] for entry in entries] for name in columns(classes)}
    tables.write_table(storage, _part(masks_path, shard), values, columns(classes))


def _values(row: ConfidenceRow, classes: int) -> dict[str, Any]:
    sums, total = row.sums, max(int(row.sums.pixels.sum()), 1)
    values: dict[str, Any] = {
        "row": row.row,
        **{name: row.entry[name] for name in ("image_id", "path", "height", "width")},
        "doubt": sums.own_uncertainty,
        "margin": sums.margin,
        "doubtful": sums.uncertain_share,
    }
    for c in range(classes):
        pixels = int(sums.pixels[c])
        values[f"share_{c}"] = pixels / total
        values[f"margin_{c}"] = sums.margins[c] / pixels if pixels else None
        values[f"doubtful_{c}"] = sums.doubtful[c] / pixels if pixels else None
    return values


def join_parts(folder: Folder, shards: int, dump_sums: MarginSums) -> None:
    """Join the shards' parts into the dump's table, given the sums of all its margins."""
    parts = [_part(folder.path, shard) for shard in range(shards)]
    names = columns(len(dump_sums.pixels))

    def doubt(column: tables.Column) -> NDArray[np.float64]:
        shares = [column(name) for name in names if name.startswith("share_")]
        return uncertainty(column("doubt"), np.stack(shares, axis=-1), dump_sums)

    tables.join_tables(folder.storage, parts, _table(folder), names, {"doubt": doubt})


def has_confidence(folder: Folder) -> bool:
    """Whether masks came with the whole table; earlier versions stored less of it."""
    return bool(folder.manifest()["version"] >= SINCE_VERSION)


def dumps_with_confidence(summary: Summary) -> list[tuple[str, Folder]]:
    """Dumps whose masks came with their confidence, and the folders of these masks."""
    folders = {dump: summary.folder("masks", dump) for dump in summary.dumps}
    return [(dump, folder) for dump, folder in folders.items() if folder and has_confidence(folder)]


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
    for dump, folder in folders:
        rows = stream_rows(folder, UncertainImage._fields[1:])
        images += [UncertainImage(dump, **row) for row in rows]
        images = sorted(images, key=lambda image: -image.doubt)[:most]
    return images


def stream_rows(folder: Folder, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a dump's table, some columns of them, a row group at a time."""
    return tables.stream_rows(folder.storage, _table(folder), names)


def _table(folder: Folder) -> str:
    return f"{folder.path}/{layout.CONFIDENCE_FILE}"


def _part(masks_path: str, shard: int) -> str:
    return f"{masks_path}/parts/confidence-{shard:06d}.parquet"
