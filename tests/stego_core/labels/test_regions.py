"""Regions and their runs, against slow and obvious versions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco
from scipy import ndimage

from stego_core.labels import regions
from stego_core.labels.void import VOID_BYTE

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
MASKS = arrays(np.bool_, SIZES)
IDS = arrays(np.uint8, SIZES, elements=st.sampled_from([0, 1, 2, VOID_BYTE]))


def unfolded(lengths: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def whole(region: regions.Region, shape: tuple[int, ...]) -> np.ndarray:
    result = np.zeros(shape, bool)
    left, top, width, height = region.box
    result[top : top + height, left : left + width] = region.mask
    return result


@given(MASKS)
def test_runs_unfold_to_the_mask(mask: np.ndarray) -> None:
    lengths = regions.runs(mask)
    np.testing.assert_array_equal(unfolded(lengths), mask.ravel())
    assert all(lengths[1:])
    np.testing.assert_array_equal(regions.of_runs(lengths, *mask.shape), mask)


@pytest.mark.parametrize("lengths", [[5], [3, -1, 4], [7]])
def test_runs_of_another_size_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="pixels in runs, expected 2×3"):
        regions.of_runs(lengths, 2, 3)


@given(IDS, st.booleans())
def test_regions_put_together_are_the_mask(ids: np.ndarray, connected: bool) -> None:
    margins = np.arange(ids.size, dtype=np.uint8).reshape(ids.shape)
    again = np.full(ids.shape, VOID_BYTE, np.uint8)
    for region in regions.regions(ids, margins, connected):
        own = whole(region, ids.shape)
        assert (again[own] == VOID_BYTE).all()
        again[own] = region.cls
        assert region.mask[[0, -1]].any(axis=1).all()
        assert region.mask[:, [0, -1]].any(axis=0).all()
        assert region.area == own.sum()
        assert region.score == pytest.approx(margins[own].mean() / 255)
        if connected:
            assert ndimage.label(own)[1] == 1
    np.testing.assert_array_equal(again, ids)


@given(IDS, st.booleans(), st.integers(1, 5))
def test_small_ones_may_be_left_out(ids: np.ndarray, connected: bool, least: int) -> None:
    every = list(regions.regions(ids, ids, connected))
    kept = list(regions.regions(ids, ids, connected, least))
    assert [r.box for r in kept] == [r.box for r in every if r.area >= least]


@given(IDS, st.booleans())
def test_runs_by_columns_are_those_of_pycocotools(ids: np.ndarray, connected: bool) -> None:
    for region in regions.regions(ids, np.zeros_like(ids), connected):
        counts = regions.runs_by_columns(region, *ids.shape)
        packed = coco.frPyObjects({"counts": counts, "size": list(ids.shape)}, *ids.shape)
        own = whole(region, ids.shape)
        assert packed["counts"] == coco.encode(np.asfortranarray(own.astype(np.uint8)))["counts"]


@given(IDS)
def test_numbers_are_connected_and_of_one_class(ids: np.ndarray) -> None:
    parts, classes = regions.numbered(ids)
    np.testing.assert_array_equal(classes[parts], ids)
    assert sorted(np.unique(parts[parts > 0])) == list(range(1, len(classes)))
    for number in range(1, len(classes)):
        assert ndimage.label(parts == number)[1] == 1
