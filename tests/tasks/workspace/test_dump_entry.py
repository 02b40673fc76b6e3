"""What the catalog takes from a table of confidence, read a row group at a time."""

from pathlib import Path

import numpy as np
import pytest

from tasks.storage.storage import Storage
from tasks.workspace import tables
from tasks.workspace.dump_entry import UNCERTAIN_IMAGES, uncertain_images
from tasks.workspace.tables import ROW_GROUP

MASKS = {"key": "m" * 16, "version": 99}
TABLE = f"masks/{'m' * 16}/d/confidence.parquet"


@pytest.mark.parametrize("count", [0, 1, UNCERTAIN_IMAGES, ROW_GROUP + 1, 3 * ROW_GROUP + 7])
def test_the_most_uncertain_images_are_those_of_the_whole_table(tmp_path: Path, count: int) -> None:
    storage = Storage.at(str(tmp_path))
    doubts = np.random.default_rng(count).integers(0, 20, count).astype(np.float32) / 20
    columns = {"row": 2 * np.arange(count), "doubt": doubts}
    tables.write_table(storage, TABLE, columns, {"row": "int64", "doubt": "float"})
    first = np.argsort(-doubts, kind="stable")[:UNCERTAIN_IMAGES]  # equal ones in their order
    expected = [[n, 2 * n, doubts[n]] for n in first.tolist()]
    assert uncertain_images(storage, MASKS, "d") == expected


def test_masks_without_them(tmp_path: Path) -> None:
    storage = Storage.at(str(tmp_path))
    assert uncertain_images(storage, MASKS, "d") is None
    assert uncertain_images(storage, {**MASKS, "version": 1}, "d") is None
