"""The table of a dump's images: which match, and what one of them is."""

import numpy as np
import pytest

from tasks.browse.image_table import ImageTable, Item

ROWS = 3
TABLE = ImageTable(
    dump="day",
    columns={
        "row": np.array([0, 2, 5]),
        "image_id": np.array(["a", "b", "c"], object),
        "path": np.array(["a.jpg", "b.jpg", "c.jpg"], object),
        "height": np.full(ROWS, 4, np.int32),
        "width": np.full(ROWS, 6, np.int32),
        "doubt": np.array([0.25, 0.5, 0.75], np.float32),
        "margin": np.array([0.5, 0.5, 0.5], np.float32),
        "doubtful": np.array([0.0, 0.5, 1.0], np.float32),
    },
    labelled=np.array([True, False, True]),
    shares=np.array([[0.5, 0.004, 0.0], [0.25, 0.004, 0.0], [0.25, 0.992, 1.0]], np.float32),
)


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
    members: list[int] | None, labelled: bool | None, expected: list[int]
) -> None:
    assert TABLE.matching(members, labelled).tolist() == expected


def test_an_item_has_plain_values_and_the_share_of_the_members() -> None:
    item = TABLE.item(0, [1, 2])
    assert item == Item("day", 0, "a", "a.jpg", 4, 6, 0.25, 0.5, 0.0, True, 0.5)
    assert type(item.doubt) is float
    assert TABLE.item(1, None).share is None
