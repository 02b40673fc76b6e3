"""Tables of neighbours against all pairs."""

import numpy as np
import pytest
from two_dumps import compute

from stego_core.errors import CapacityError
from tasks.features.rows import FeatureRows
from tasks.head import stage as head
from tasks.neighbors import stage as neighbors
from tasks.options import (
    NeighborsOptions,
)


def test_table_equals_all_pairs(rows: FeatureRows) -> None:
    options = NeighborsOptions(k=6)
    for dump in rows.dumps:
        compute(neighbors.plan(rows, dump, options, "cpu")).finish(0.0, 1)
    table = head.neighbor_ids(rows, neighbors.neighbors_key(rows, options))
    vectors = rows.read("pooled", np.arange(rows.total)).astype(np.float64)
    cosine = vectors @ vectors.T
    np.testing.assert_array_equal(table[:, 0], np.arange(rows.total))
    for row, found in enumerate(table):
        best = np.sort(np.delete(cosine[row], row))[::-1][:5]
        np.testing.assert_allclose(cosine[row, found[1:]], best, atol=1e-5)


def test_fewer_images_than_k(rows: FeatureRows) -> None:
    with pytest.raises(CapacityError, match="13 usable images are fewer than the 14"):
        neighbors.plan(rows, "first", NeighborsOptions(k=14), "cpu")
