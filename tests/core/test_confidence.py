"""How sure pixels and images are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stego_core.confidence import SURE, Confidence, doubt
from stego_core.inference import margins


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_margins_are_best_less_second_best(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    marginals = rng.dirichlet(np.ones(classes), (5, 7)).transpose(2, 0, 1).astype(np.float32)
    found = margins(marginals)
    for place in np.ndindex(5, 7):
        ordered = sorted(marginals[(slice(None), *place)].tolist(), reverse=True)
        expected = 255 * (ordered[0] - (ordered[1] if classes > 1 else 0))
        assert abs(int(found[place]) - expected) <= 0.51


def test_confidence_adds_up_by_class() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (20, 30), np.uint8)
    certain = rng.integers(0, 256, (20, 30)).astype(np.uint8)
    sure = Confidence.of(classes, certain, 4)
    for number in range(4):
        own = certain[classes == number]
        assert sure.pixels[number] == len(own)
        assert sure.doubtful[number] == (own < SURE).sum()
        np.testing.assert_allclose(sure.margins[number], (own / 255).sum())
    np.testing.assert_allclose(sure.margin, (certain / 255).mean())
    np.testing.assert_allclose(sure.doubtful_share, (certain < SURE).mean())
    np.testing.assert_allclose(sure.shares().sum(), 1)


def test_confidence_of_parts_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 3, (8, 9), np.uint8)
    certain = rng.integers(0, 256, (8, 9)).astype(np.uint8)
    parts = [Confidence.of(classes[a:b], certain[a:b], 3) for a, b in ((0, 3), (3, 8))]
    whole = Confidence.of(classes, certain, 3)
    total = Confidence.total(parts, 3)
    np.testing.assert_array_equal(total.pixels, whole.pixels)
    np.testing.assert_array_equal(total.doubtful, whole.doubtful)
    np.testing.assert_allclose(total.margins, whole.margins)
    assert Confidence.total([], 3).margin == 0


def test_doubt_is_the_geometric_mean_of_what_margins_miss() -> None:
    rng = np.random.default_rng(2)
    certain = rng.integers(0, 255, (4, 5)).astype(np.uint8)
    product = 1.0
    for value in certain.ravel().tolist():
        product *= (255.5 - value) / 255.5
    np.testing.assert_allclose(doubt(certain), product ** (1 / certain.size))
    assert doubt(np.zeros((2, 2), np.uint8)) == 1
    assert 0 < doubt(np.full((2, 2), 255, np.uint8)) < 0.002


def test_a_half_sure_region_is_more_doubtful_than_an_outline() -> None:
    outline, region = (np.full((10, 10), 255, np.uint8) for _ in range(2))
    outline[0] = 0
    region[:5] = 240
    assert outline.mean() < region.mean()
    assert doubt(outline) < doubt(region)
