"""Feature rows of several dumps as one table."""

import numpy as np
import pytest
from two_dumps import IMAGES, NEW

from stego_core.errors import WorkspaceError
from tasks.features.rows import FeatureRows, PatchCache


def test_shapes(rows: FeatureRows) -> None:
    assert rows.counts() == [5 * IMAGES, 5 * NEW]
    assert rows.shape() == (4, 4, 192)
    assert rows.valid().all()


def test_pooled_vectors_belong_to_their_patches(rows: FeatureRows) -> None:
    every = np.arange(rows.total)
    mean = rows.read("patches", every).astype(np.float64).mean(axis=(1, 2))
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(rows.read("pooled", every), expected, atol=1e-3)


def test_global_rows_cross_dumps_in_any_order(rows: FeatureRows) -> None:
    wanted = np.array([46, 0, 44, 64, 45, 0])
    whole = np.concatenate([rows.read("pooled", block) for block in rows.row_blocks(7)])
    np.testing.assert_array_equal(rows.read("pooled", wanted), whole[wanted])
    with pytest.raises(WorkspaceError, match="not all in"):
        rows.read("pooled", np.array([65]))


@pytest.mark.parametrize("name", ["patches", "pooled", "valid"])
def test_no_rows_have_the_shape_and_type_of_some(rows: FeatureRows, name: str) -> None:
    some, none = (rows.read(name, np.arange(count)) for count in (3, 0))
    assert (none.shape, none.dtype) == ((0, *some.shape[1:]), some.dtype)


def test_streamed_and_held_patches_are_equal(rows: FeatureRows) -> None:
    wanted = np.array([3, 60, 3, 20])
    held, streamed = PatchCache(rows, 1024), PatchCache(rows, 0)
    assert held.patches is not None
    assert streamed.patches is None
    np.testing.assert_array_equal(held(wanted), streamed(wanted))
