"""How sure pixels and images are."""

import numpy as np
from numpy.typing import NDArray

from stego_core.masks.margins import SURE, MarginSums, uncertainty


def test_confidence_adds_up_by_class() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (20, 30), np.uint8)
    certain = rng.integers(0, 256, (20, 30)).astype(np.uint8)
    sure = MarginSums.of(classes, certain, 4)
    for number in range(4):
        own = certain[classes == number]
        assert sure.pixels[number] == len(own)
        assert sure.doubtful[number] == (own < SURE).sum()
        np.testing.assert_allclose(sure.margins[number], (own / 255).sum())
    np.testing.assert_allclose(sure.margin, (certain / 255).mean())
    np.testing.assert_allclose(sure.uncertain_share, (certain < SURE).mean())
    np.testing.assert_allclose(sure.shares().sum(), 1)


def test_confidence_of_parts_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 3, (8, 9), np.uint8)
    certain = rng.integers(0, 256, (8, 9)).astype(np.uint8)
    parts = [MarginSums.of(classes[a:b], certain[a:b], 3) for a, b in ((0, 3), (3, 8))]
    whole = MarginSums.of(classes, certain, 3)
    total = MarginSums.total(parts, 3)
    np.testing.assert_array_equal(total.pixels, whole.pixels)
    np.testing.assert_array_equal(total.doubtful, whole.doubtful)
    np.testing.assert_allclose(total.margins, whole.margins)
    np.testing.assert_allclose(total.log_doubts, whole.log_doubts)
    assert MarginSums.total([], 3).margin == 0


def test_an_images_own_doubt_is_the_geometric_mean_of_what_margins_miss() -> None:
    rng = np.random.default_rng(2)
    certain = rng.integers(0, 255, (4, 5)).astype(np.uint8)
    product = 1.0
    for value in certain.ravel().tolist():
        product *= (255.5 - value) / 255.5
    np.testing.assert_allclose(own_uncertainty(certain), product ** (1 / certain.size))
    assert own_uncertainty(np.zeros((2, 2), np.uint8)) == 1
    assert 0 < own_uncertainty(np.full((2, 2), 255, np.uint8)) < 0.002


def test_a_half_sure_region_is_more_doubtful_than_an_outline() -> None:
    outline, region = (np.full((10, 10), 255, np.uint8) for _ in range(2))
    outline[0] = 0
    region[:5] = 240
    assert outline.mean() < region.mean()
    assert own_uncertainty(outline) < own_uncertainty(region)


def own_uncertainty(certain: NDArray[np.uint8]) -> float:
    """Of an image that is of one class."""
    return MarginSums.of(np.zeros_like(certain), certain, 1).own_uncertainty


def test_doubt_weighs_an_image_and_its_classes_pixel_by_pixel() -> None:
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 3, (4, 6, 7), np.uint8)
    certain = rng.integers(0, 256, (4, 6, 7)).astype(np.uint8)
    logs = np.log((255.5 - certain.astype(float)) / 255.5)
    parts = [MarginSums.of(ids, sure, 5) for ids, sure in zip(classes, certain, strict=True)]
    dump = MarginSums.total(parts, 5)
    found = uncertainty(
        np.array([part.own_uncertainty for part in parts]),
        np.stack([part.shares() for part in parts]),
        dump,
    )
    for image in range(4):
        total = 0.0
        for place in np.ndindex(6, 7):
            everywhere = logs[classes == classes[(image, *place)]]
            total += 2 * logs[(image, *place)] + everywhere.mean()
        np.testing.assert_allclose(found[image], np.exp(total / (3 * 42)))


def test_of_two_images_as_sure_the_one_of_a_doubtful_class_is_more_doubtful() -> None:
    sure = np.full((4, 4), 250, np.uint8)
    steady, shaky = (MarginSums.of(np.full((4, 4), k, np.uint8), sure, 2) for k in range(2))
    elsewhere = MarginSums.of(np.ones((4, 4), np.uint8), np.full((4, 4), 100, np.uint8), 2)
    dump = MarginSums.total([steady, shaky, elsewhere], 2)
    assert steady.own_uncertainty == shaky.own_uncertainty
    assert uncertainty(steady.own_uncertainty, steady.shares(), dump) < uncertainty(
        shaky.own_uncertainty, shaky.shares(), dump
    )
    np.testing.assert_allclose(
        uncertainty(steady.own_uncertainty, steady.shares(), dump), steady.own_uncertainty
    )
