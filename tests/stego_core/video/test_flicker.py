"""Classes that change where the image does not: against a slow version, and what is no pair."""

import numpy as np
import pytest

from stego_core.labels.void import VOID_BYTE
from stego_core.video.flicker import ClassChanges, flicker


def slow_flicker(images: list[np.ndarray], masks: list[np.ndarray]) -> tuple[int, int]:
    difference = images[1].astype(np.float64) - images[0]
    height, width = masks[0].shape
    padded = np.pad(difference, ((2, 2), (2, 2), (0, 0)), "symmetric")
    still = changed = 0
    for y in range(height):
        for x in range(width):
            means = padded[y : y + 5, x : x + 5].reshape(25, 3).mean(axis=0)
            if (np.abs(means) <= 6).all():
                still += 1
                changed += int(masks[0][y, x] != masks[1][y, x])
    return still, changed


def test_flicker_equals_a_slow_version(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    first = draw.integers(0, 256, (40, 30, 3), np.uint8)
    second = (first + draw.normal(0, 22, first.shape)).clip(0, 255).astype(np.uint8)
    second[20:, 15:] = 255 - second[20:, 15:]
    masks = [draw.integers(0, 3, (40, 30)).astype(np.uint8) for _ in range(2)]
    still, changed = slow_flicker([first, second], masks)
    assert 100 < still < 1100
    for band in (7, 256):
        monkeypatch.setattr("stego_core.video.flicker.BAND", band)
        assert flicker((first, second), (masks[0], masks[1])) == ClassChanges(1, still, changed)


def test_flicker_adds_up() -> None:
    total = ClassChanges(1, 10, 2) + ClassChanges(2, 30, 8)
    assert total == ClassChanges(3, 40, 10)
    assert total.share == 0.25
    assert ClassChanges().share is None


def test_frames_of_different_sizes_are_no_pair() -> None:
    images = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)
    assert flicker(images, (images[0][..., 0], images[1][..., 0])) == ClassChanges()


def test_pixels_without_data_are_no_still_ones() -> None:
    image = np.zeros((3, 4, 3), np.uint8)
    first, second = np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)
    first[0], second[1, :2] = VOID_BYTE, VOID_BYTE
    assert flicker((image, image), (first, second)) == ClassChanges(1, 6, 6)
