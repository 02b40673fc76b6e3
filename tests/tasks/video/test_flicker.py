"""Pairs of neighbouring frames of a shard, in whatever order its masks come."""

from itertools import permutations
from typing import cast

import numpy as np
import pytest

from stego_core.video.flicker import ClassChanges
from stego_core.video.frame_order import NONE, Links
from tasks.corpus.index import IndexReader
from tasks.video import frame_order
from tasks.video.flicker import FlickerCounter

IMAGE = np.zeros((2, 3, 3), np.uint8)
LINKS = Links(np.array([NONE, 0, 1, NONE, 2]), np.array([1, 2, 4, NONE, NONE]))
"""Rows 0, 1, 2 and 4 follow one another; row 3 stands alone."""


@pytest.fixture(autouse=True)
def chained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_order, "links", lambda index: LINKS)


def counter(*rows: int) -> FlickerCounter:
    return FlickerCounter(cast(IndexReader, None), rows)


def mask(row: int) -> np.ndarray:
    """As many pixels of class 1 as the row's number."""
    return (np.arange(6).reshape(2, 3) < row).astype(np.uint8)


def test_every_pair_counts_once_in_any_order() -> None:
    for order in permutations(range(5)):
        counted = counter(0, 1, 2, 3, 4)
        for row in order:
            counted.add(row, IMAGE, mask(row))
        assert counted.total == ClassChanges(3, 18, 1 + 1 + 2)
        assert not counted.kept


def test_pairs_across_shards_are_left_out() -> None:
    counted = counter(0, 1)
    for row in (0, 1, 2):
        counted.add(row, IMAGE, mask(row))
    assert counted.total == ClassChanges(1, 6, 1)


def test_a_frame_that_never_comes_leaves_its_neighbours_out() -> None:
    counted = counter(0, 1, 2)
    for row in (0, 2):
        counted.add(row, IMAGE, mask(row))
    assert counted.total == ClassChanges()
    assert set(counted.kept) == {0, 2}  # row 1 may still come


def test_a_row_that_comes_again_changes_nothing() -> None:
    counted = counter(0, 1)
    for row in (0, 1, 0):
        counted.add(row, IMAGE, mask(row))
    assert counted.total.pairs == 1
