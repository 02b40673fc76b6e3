"""Points that stand for corrected regions."""

import numpy as np

from stego_core.teaching.corrections import MOST_POINTS, SPACING, corrected_points


def plain(height: int = 56, width: int = 84, cls: int = 1) -> np.ndarray:
    return np.full((height, width), cls, np.int64)


def test_nothing_that_stayed_is_a_lesson() -> None:
    assert corrected_points(plain(), plain()) == []


def test_a_small_region_has_its_innermost_pixel() -> None:
    after = plain()
    after[10, 20:23] = 5
    assert corrected_points(plain(), after) == [(10, 20, 5)]


def test_points_lie_inside_what_changed() -> None:
    after = plain()
    after[8:40, 8:60] = 2
    after[20:30, 30:50] = -1  # the person left a hole
    points = corrected_points(plain(), after)
    assert 10 < len(points) <= MOST_POINTS
    assert {(after[p.y, p.x], p.cls) for p in points} == {(2, 2)}
    step = 56 // SPACING
    assert all(p.y % step == step // 2 and p.x % step == step // 2 for p in points[1:])


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
