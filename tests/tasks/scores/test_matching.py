"""Which class a cluster counts as: by its name where people taught it, else by its pixels."""

import numpy as np
import pytest

from tasks.scores.matching import matched

CLASSES = ("road", "tree", "sky")
COUNTS = np.array([[9, 1, 0, 5], [0, 7, 2, 0], [0, 0, 3, 1]])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, [0, 1, 2, -1]),
        (["cluster 0", "cluster 1", "cluster 2", "Road"], [-1, 1, 2, 0]),
        (["sky", "tree", "cluster 2", "Road"], [2, 1, -1, 0]),
        (["pole", "sign", "wall", "bird"], [0, 1, 2, -1]),
    ],
)
def test_names_come_before_pixels(names: list[str] | None, expected: list[int]) -> None:
    assert matched("stego", COUNTS, CLASSES, names).tolist() == expected


def test_a_probe_predicts_classes() -> None:
    assert matched("linear", COUNTS[:, :3], CLASSES, None).tolist() == [0, 1, 2]
