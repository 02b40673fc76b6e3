"""How sure each image's mask is: a table per dump beside its masks, and a map per image."""

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

TABLE = layout.CONFIDENCE_FILE
SINCE = 5
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
CLASS_COLUMNS = ("share", "margin", "doubtful")
"""Of each class c, as share_c, …: of the image's pixels; mean of its pixels' margins; share of its
pixels that are doubtful. The last two are null where the image has none of it."""


class Row(NamedTuple):
    """One image of a dump.

    Attributes:
        row: in the dump's index.
        entry: of the index.
        sure: what its mask's margins add up to.
    """

    row: int
    entry: Entry
    sure: MarginSums


class UncertainImage(NamedTuple):
    """An image that people should look at, all shares 0 to 1.

    Attributes:
        dump, row, image_id, path: which image.
        doubt: of its pixels and of its classes (`stego_core.masks.margins.uncertainty`).
        margin: mean margin of its pixels.
        doubtful: share of its pixels that are doubtful.
    """

    dump: str
    row: int
    image_id: str
    path: str
    doubt: float
    margin: float
    doubtful: float


def map_path(masks_path: str, image_id: str) -> str:
    """The file that holds an image's margins."""
    return layout.margins(masks_path, image_id)


def columns(classes: int) -> dict[str, str]:
    """Names and types of the table's columns."""
    per_class = {f"{name}_{c}": "float" for c in range(classes) for name in CLASS_COLUMNS}
    return {**IMAGE_COLUMNS, **per_class}


def write_part(
    storage: Storage, masks_path: str, shard: int, rows: Sequence[Row], classes: int
) -> None:
    """Write one shard's rows, `doubt` being their own only: the others are not known yet."""
    entries = [_values(row, classes) for row in rows]
    values = {name: [entry[name] for entry in entries] for name in columns(classes)}
    tables.write_table(storage, _part(masks_path, shard), values, columns(classes))


def _values(row: Row, classes: int) -> dict[str, Any]:
    sure, total = row.sure, max(int(row.sure.pixels.sum()), 1)
    values: dict[str, Any] = {
        "row": row.row,
        **{name: row.entry[name] for name in ("image_id", "path", "height", "width")},
        "doubt": sure.own_uncertainty,
        "margin": sure.margin,
        "doubtful": sure.uncertain_share,
    }
    for c in range(classes):
        pixels = int(sure.pixels[c])
        values[f"share_{c}"] = pixels / total
        values[f"margin_{c}"] = sure.margins[c] / pixels if pixels else None
        values[f"doubtful_{c}"] = sure.doubtful[c] / pixels if pixels else None
    return values


def join(folder: Folder, shards: int, dump: MarginSums) -> None:
    """Join the shards' parts into the dump's table; `dump` is what all its margins add up to."""
    parts = [_part(folder.path, shard) for shard in range(shards)]
    names = columns(len(dump.pixels))

    def doubts(column: tables.Column) -> NDArray[np.float64]:
        shares = [column(name) for name in names if name.startswith("share_")]
        return uncertainty(column("doubt"), np.stack(shares, axis=-1), dump)

    tables.join_tables(folder.storage, parts, f"{folder.path}/{TABLE}", names, {"doubt": doubts})


def complete(folder: Folder) -> bool:
    """Whether masks came with all that is told of their confidence; earlier versions told less."""
    return bool(folder.manifest()["version"] >= SINCE)


def kept(summary: Summary) -> list[tuple[str, Folder]]:
    """Dumps whose masks came with their confidence, and the folders of these masks."""
    folders = {dump: summary.folder("masks", dump) for dump in summary.dumps}
    return [(dump, folder) for dump, folder in folders.items() if folder and complete(folder)]


def least_certain(summary: Summary, most: int) -> list[UncertainImage]:
    """The images of most doubt, over all dumps, least certain first.

    Raises:
        WorkspaceError: there are no masks, or an earlier version made them.
    """
    folders = kept(summary)
    if not folders:
        raise WorkspaceError(
            f"{summary.workspace.storage.uri} has no masks with their confidence; make them with "
            "`stego masks`"
        )
    found: list[UncertainImage] = []
    for dump, folder in folders:
        found += [UncertainImage(dump, **row) for row in stream(folder, UncertainImage._fields[1:])]
        found = sorted(found, key=lambda each: -each.doubt)[:most]
    return found


def stream(folder: Folder, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a dump's table, some columns of them, a row group at a time."""
    yield from tables.stream_rows(folder.storage, f"{folder.path}/{TABLE}", names)


def _part(masks_path: str, shard: int) -> str:
    return f"{masks_path}/parts/confidence-{shard:06d}.parquet"
