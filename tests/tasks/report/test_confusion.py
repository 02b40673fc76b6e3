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
            "matching": {"stego": [1, 0, -1]},
            "confusion": {"stego": [[1, 2, 3], [4, 5, 6]]},
            "scores": {"per_class": {"road": 25.0, "sky": None}},
        }


def test_columns_follow_the_rows_and_unmatched_clusters_are_last() -> None:
    matrix = confusion(cast(Summary, Scored()), "day-1")
    assert matrix is not None
    assert matrix.counts.tolist() == [[2, 1, 3], [5, 4, 6]]
    assert matrix.predicted_names == ["road", "sky", "cluster 2 (unmatched)"]
    np.testing.assert_array_equal(matrix.ious, [25.0, np.nan])


def test_a_dump_without_labels_has_none() -> None:
    assert confusion(cast(Summary, Scored()), "day-2") is None
