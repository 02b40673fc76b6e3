"""The table of a dump's images: which match, and what one of them is."""

from pathlib import Path

import numpy as np
import pytest

from tasks.browse.image_table import ImageTable, Item
from tasks.corpus.index import IndexReader
from tasks.masks import confidence_table
from tasks.workspace import layout
from tasks.workspace.tables import write_table
from tasks.workspace.workspace import Workspace

SHARES = [[0.5, 0.004, 0.0], [0.25, 0.004, 0.0], [0.25, 0.992, 1.0]]


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    """Six images of which three have masks; those of rows 0 and 5 have labels."""
    workspace = Workspace.create(str(tmp_path))
    masked = {"row": [0, 2, 5], "height": [4] * 3, "width": [6] * 3}
    masked |= {"image_id": ["a", "b", "c"], "path": ["a.jpg", "b.jpg", "c.jpg"]}
    masked |= {"doubt": [0.25, 0.5, 0.75], "margin": [0.5] * 3, "doubtful": [0.0, 0.5, 1.0]}
    masked |= {f"share_{c}": share for c, share in enumerate(SHARES)}
    masked |= {f"{name}_{c}": [0.0] * 3 for name in ("margin", "doubtful") for c in range(3)}
    folder = workspace.folder(layout.masks("k", "day"))
    columns = confidence_table.columns(3)
    write_table(workspace.storage, confidence_table.path(folder), masked, columns)
    digests = {"label_digest": ["d", None, None, "d", "d", "d"]}
    path = f"{layout.corpus('day')}/{layout.INDEX_FILE}"
    write_table(workspace.storage, path, digests, {"label_digest": "string"})
    return ImageTable(folder, IndexReader(workspace, "day"))


@pytest.mark.parametrize(
    ("members", "labelled", "expected"),
    [
        (None, None, [0, 1, 2]),
        (None, True, [0, 2]),
        (None, False, [1]),
        ([0], None, [0]),  # 0.4 % is too little
        ([0, 1], None, [0, 1]),  # 0.8 % together are enough
        ([0, 1], True, [0]),
    ],
)
def test_images_match_by_the_share_of_all_members_and_by_label(
    table: ImageTable, members: list[int] | None, labelled: bool | None, expected: list[int]
) -> None:
    assert table.matching(members, labelled).tolist() == expected


def test_items_have_plain_values_and_the_share_of_the_members(table: ImageTable) -> None:
    last, first = table.items(np.array([2, 0]), [1, 2])
    assert first == Item("day", 0, "a", "a.jpg", 4, 6, 0.25, 0.5, 0.0, True, 0.5)
    assert last == Item("day", 5, "c", "c.jpg", 4, 6, 0.75, 0.5, 1.0, True, 1.0)
    assert type(first.doubt) is float
    (unlabelled,) = table.items(np.array([1]), None)
    assert unlabelled.share is None
    assert not unlabelled.labelled


def test_only_columns_that_are_asked_for_are_read(table: ImageTable) -> None:
    table.matching(None, None)
    assert set(table._columns) == {"row"}
    table.matching([1], None)
    assert set(table._columns) == {"row", "share_1"}
