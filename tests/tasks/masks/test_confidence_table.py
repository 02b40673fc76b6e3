"""The table of confidence: rows of shards, joined once all of them are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled import add_dump, blobs, save_photo, workspace_at

from stego_core.masks.margins import MarginSums
from tasks.corpus.index import IndexReader
from tasks.masks import confidence_table
from tasks.masks.confidence_table import IMAGE_COLUMNS, PackedTable, packed
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder
from tasks.workspace.summary import Summary
from tasks.workspace.tables import ROW_GROUP, write_table
from tasks.workspace.workspace import Workspace

CLASSES = 3


def rows_of(folder: Folder, names: Sequence[str]) -> list[dict[str, Any]]:
    return list(tables.stream_rows(folder.storage, confidence_table.path(folder), names))


def sums_of(margin: int) -> MarginSums:
    """An image of 2×4 pixels: class 0 on the left, class 1 on the right, all of one margin."""
    classes = np.repeat(np.array([[0, 0, 1, 1]], np.uint8), 2, axis=0)
    return MarginSums.of(classes, np.full((2, 4), margin, np.uint8), CLASSES)


def table_of(place: Path, images: int, shards: Sequence[Mapping[int, MarginSums]]) -> Folder:
    """The table of a dump with so many images, of which some have masks."""
    workspace = Workspace.create(str(place))
    entries = {
        "image_id": [f"i{row}" for row in range(images)],
        "path": [f"i{row}.png" for row in range(images)],
        "height": [2] * images,
        "width": [4] * images,
    }
    columns = {name: IMAGE_COLUMNS[name] for name in entries}
    index = f"{layout.corpus('dump')}/{layout.INDEX_FILE}"
    write_table(workspace.storage, index, entries, columns)
    folder = workspace.folder(layout.MASKS, "k", "dump")
    total = MarginSums.total((sums for rows in shards for sums in rows.values()), CLASSES)
    with PackedTable.begun() as table:
        for rows in shards:
            table.add(packed(rows))
        table.write(folder, IndexReader(workspace, "dump"), total)
    return folder


def test_parts_become_one_table(tmp_path: Path) -> None:
    folder = table_of(tmp_path, 2, [{0: sums_of(255)}, {1: sums_of(51)}])
    names = [
        "image_id",
        "doubt",
        "margin",
        "doubtful",
        "share_0",
        "share_2",
        "margin_1",
        "margin_2",
    ]
    sure, unsure = rows_of(folder, names)
    assert (sure["image_id"], unsure["image_id"]) == ("i0", "i1")
    assert (sure["margin"], sure["doubtful"]) == (1, 0)
    assert unsure["margin"] == pytest.approx(0.2)
    assert unsure["doubtful"] == 1
    assert (sure["share_0"], sure["share_2"]) == (0.5, 0)
    assert unsure["margin_1"] == pytest.approx(0.2)
    assert unsure["margin_2"] is None  # it has no pixel of this class
    assert 0 <= sure["doubt"] < unsure["doubt"] <= 1


def test_images_without_masks_are_left_out(tmp_path: Path) -> None:
    """Across row groups, some of which have no mask at all."""
    images = 3 * ROW_GROUP + 5
    masked = [0, 7, ROW_GROUP - 1, *range(2 * ROW_GROUP + 3, images, 2)]
    shards = [{row: sums_of(row % 256) for row in part} for part in (masked[:2], [], masked[2:])]
    found = rows_of(table_of(tmp_path, images, shards), ["row", "path", "margin"])
    assert [each["row"] for each in found] == masked
    assert [each["path"] for each in found] == [f"i{row}.png" for row in masked]
    expected = [row % 256 / 255 for row in masked]
    np.testing.assert_allclose([each["margin"] for each in found], expected, rtol=1e-6)


def test_shards_of_an_earlier_version_have_tables_of_their_own(tmp_path: Path) -> None:
    """A run that it began is finished by this one: nothing is computed again."""
    sums = [sums_of(255), sums_of(51), sums_of(200)]
    new = table_of(tmp_path / "new", 3, [{0: sums[0]}, {1: sums[1], 2: sums[2]}])
    old = table_of(tmp_path / "old", 3, [{0: sums[0]}])
    total = MarginSums.total(sums, CLASSES)
    columns = confidence_table.columns(CLASSES)
    with PackedTable.begun() as table:
        table.add(packed({1: sums[1], 2: sums[2]}))
        alone = Folder(old.storage, f"{old.path}-alone")
        table.write(alone, IndexReader(Workspace(old.storage), "dump"), total)
    rows = rows_of(alone, list(columns))
    for row, image in zip(rows, sums[1:], strict=True):
        row["doubt"] = image.own_uncertainty  # other images were not known yet
    part = {name: [row[name] for row in rows] for name in columns}
    write_table(old.storage, f"{old.path}/parts/confidence-000001.parquet", part, columns)
    with PackedTable.begun() as table:
        table.add(packed({0: sums[0]}))
        table.add_part(old, 1, CLASSES)
        table.write(old, IndexReader(Workspace(old.storage), "dump"), total)
    assert rows_of(old, list(columns)) == rows_of(new, list(columns))


def test_the_least_certain_of_all_dumps_without_reading_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspace_at(str(tmp_path / "ws"))
    for number in range(4):
        dump, side = f"d{number}", 9 + 3 * number
        masks = {f"{image}": blobs(10 * number + image, 8, side) for image in range(3)}
        for image in masks:
            save_photo(tmp_path / dump / f"{image}.png", (8, side))
        add_dump(workspace, dump, tmp_path / dump, masks)
    summary, read = Summary(workspace), list[str]()
    every = [
        (row["doubt"], dump, row["row"])
        for dump, folder in confidence_table.dumps_with_confidence(summary)
        for row in rows_of(folder, ["doubt", "row"])
    ]
    expected = sorted(every, key=lambda image: -image[0])

    def noted(storage: Storage, path: str, names: list[str]) -> object:
        read.append(path)
        return read_columns(storage, path, names)

    read_columns = tables.read_columns
    monkeypatch.setattr(tables, "read_columns", noted)
    for most in (1, 2, 5, 12, 99):
        read.clear()
        images = confidence_table.least_certain(summary, most)
        assert [(i.doubt, i.dump, i.row) for i in images] == expected[:most]
        assert len(read) >= len({dump for _, dump, _ in expected[:most]})
        assert most > 1 or len(read) == 1
    newest = confidence_table.dumps_with_confidence(summary, 2)
    assert [dump for dump, _ in newest] == ["d2", "d3"]
