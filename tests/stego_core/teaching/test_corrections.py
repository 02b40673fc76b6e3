"""Points that stand for corrected regions."""

import numpy as np
import pytest

from stego_core.teaching.corrections import CELLS, MOST_POINTS, corrected_points


def plain(height: int = 56, width: int = 84, cls: int = 1) -> np.ndarray:
    return np.full((height, width), cls, np.int64)


def test_nothing_that_stayed_is_a_lesson() -> None:
    assert corrected_points(plain(), plain()) == []


def test_a_small_region_has_its_innermost_pixel() -> None:
    after = plain()
    after[9:12, 20:23] = 5
    assert corrected_points(plain(), after) == [(10, 21, 5)]


def test_points_lie_inside_what_changed() -> None:
    after = plain()
    after[8:40, 8:60] = 2
    after[20:30, 30:50] = -1  # the person left a hole
    points = corrected_points(plain(), after)
    assert 10 < len(points) <= MOST_POINTS
    assert {(after[p.y, p.x], p.cls) for p in points} == {(2, 2)}


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("at", range(36, 46))
def test_a_stroke_is_heard_along_its_length(at: int, across: bool) -> None:
    """One as wide as a patch, wherever it lies on the lattice of cells."""
    after, along, width = plain(252, 340), slice(100, 172), slice(at, at + 8)
    after[(width, along) if across else (along, width)] = 2
    cell = 252 // CELLS
    points = corrected_points(plain(252, 340), after)
    lengths = sorted(p.x if across else p.y for p in points)
    assert 72 // cell <= len(lengths) <= 2 * 72 // cell
    assert lengths[0] < 100 + cell
    assert lengths[-1] >= 172 - cell
    assert max(np.diff(lengths)) < 2 * cell


def test_all_of_a_region_is_near_a_point_and_points_keep_apart() -> None:
    rows, columns = np.mgrid[:112, :168]
    after = plain(112, 168)
    after[(rows - 50) ** 2 + (columns - 80) ** 2 < 11**2] = 2
    cell = 112 // CELLS
    points = np.array([(p.y, p.x) for p in corrected_points(plain(112, 168), after)])
    assert len(points) < MOST_POINTS
    apart = np.abs(points[:, None] - points).max(axis=2) + 1000 * np.eye(len(points), dtype=int)
    assert apart.min() > cell / 2
    away = np.abs(np.argwhere(after == 2)[:, None] - points).max(axis=2).min(axis=1)
    assert away.max() < 2 * cell


def test_edges_that_were_drawn_a_little_otherwise_are_one_point() -> None:
    after = plain(448, 600)
    after[100:301, 200:203] = 2
    assert corrected_points(plain(448, 600), after) == [(200, 201, 2)]


def test_a_long_strip_is_corrected_at_once() -> None:
    """28 × 16,000 cells: more than can be compared pair by pair."""
    before, after = plain(28, 16_000), plain(28, 16_000, 2)
    points = corrected_points(before, after)
    assert len(points) == MOST_POINTS


def test_regions_that_do_not_touch_are_each_heard() -> None:
    after = plain()
    after[5:9, 5:9] = after[40:44, 70:74] = 3
    found = corrected_points(plain(), after)
    assert {(p.y < 20, p.x < 40) for p in found} == {(True, True), (False, False)}


def test_a_large_region_has_no_more_points_than_allowed() -> None:
    assert len(corrected_points(plain(400, 400), plain(400, 400, 2))) == MOST_POINTS


def test_classes_that_the_current_mask_names_otherwise_count_as_changed() -> None:
    before = plain(cls=-2)
    assert {p.cls for p in corrected_points(before, plain())} == {1}
