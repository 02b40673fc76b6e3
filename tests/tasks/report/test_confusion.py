"""Confusion matrices: columns in the order of the classes that the clusters match."""

from typing import cast

import numpy as np

from tasks.report.confusion import confusion
from tasks.workspace.summary import Summary


class Scored:
    """A summary of one labelled dump: three clusters, two classes, the last cluster unmatched."""

    def scores(self, dump: str) -> dict[str, object] | None:
        if dump != "day-1":
            return None
        return {
            "classes": ["road", "sky"],
            "matching": {"stego": [1, 0, -1], "picie": [0, 1]},
            "confusion": {"stego": [[1, 2, 3], [4, 5, 6]], "picie": [[9, 0], [1, 2]]},
        }


def test_columns_follow_the_rows_and_unmatched_clusters_are_last() -> None:
    matrix = confusion(cast(Summary, Scored()), "day-1")
    assert matrix is not None
    assert matrix.counts.tolist() == [[2, 1, 3], [5, 4, 6]]
    assert matrix.predicted_names == ["road", "sky", "cluster 2 (unmatched)"]
    np.testing.assert_allclose(matrix.ious, [18.18, 25.0])  # 2 / 11 and 4 / 16


def test_of_another_method() -> None:
    matrix = confusion(cast(Summary, Scored()), "day-1", "picie")
    assert matrix is not None
    assert matrix.counts.tolist() == [[9, 0], [1, 2]]
    np.testing.assert_allclose(matrix.ious, [90.0, 66.67])  # 9 / 10 and 2 / 3
    assert confusion(cast(Summary, Scored()), "day-1", "linear") is None


def test_a_dump_without_labels_has_none() -> None:
    assert confusion(cast(Summary, Scored()), "day-2") is None
