"""The table of confidence: parts of shards, joined once all of them are known."""

from pathlib import Path

import numpy as np
import pytest

from stego_core.masks.margins import MarginSums
from tasks.masks.confidence_table import ConfidenceRow, join_parts, stream_rows, write_part
from tasks.storage.storage import Storage
from tasks.workspace.ledger import Folder

CLASSES = 3


def row(number: int, margin: int) -> ConfidenceRow:
    """An image of 2×4 pixels: class 0 on the left, class 1 on the right, all of one margin."""
    classes = np.repeat(np.array([[0, 0, 1, 1]], np.uint8), 2, axis=0)
    sums = MarginSums.of(classes, np.full((2, 4), margin, np.uint8), CLASSES)
    entry = {"image_id": f"i{number}", "path": f"i{number}.png", "height": 2, "width": 4}
    return ConfidenceRow(number, entry, sums)


def test_parts_become_one_table(tmp_path: Path) -> None:
    folder, rows = Folder(Storage.at(str(tmp_path)), "masks/k/dump"), [row(0, 255), row(1, 51)]
    for shard, image in enumerate(rows):
        write_part(folder.storage, folder.path, shard, [image], CLASSES)
    join_parts(folder, 2, MarginSums.total((image.sums for image in rows), CLASSES))
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
    sure, unsure = stream_rows(folder, names)
    assert (sure["image_id"], unsure["image_id"]) == ("i0", "i1")
    assert (sure["margin"], sure["doubtful"]) == (1, 0)
    assert unsure["margin"] == pytest.approx(0.2)
    assert unsure["doubtful"] == 1
    assert (sure["share_0"], sure["share_2"]) == (0.5, 0)
    assert unsure["margin_1"] == pytest.approx(0.2)
    assert unsure["margin_2"] is None  # it has no pixel of this class
    assert 0 <= sure["doubt"] < unsure["doubt"] <= 1
