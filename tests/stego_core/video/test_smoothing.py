"""Smoothed codes against a slow version; masks of what stands still flicker less."""

import math

import numpy as np
import pytest

from stego_core.images.geometry import resize
from stego_core.video.flicker import ClassChanges, flicker
from stego_core.video.smoothing import CELLS, Frame, change, smoothed

H, W, D = 4, 6, 5


def frame(seed: int, noise: float = 20.0) -> Frame:
    draw = np.random.default_rng(seed)
    base = np.random.default_rng(99).uniform(60, 190, (H * CELLS, W * CELLS, 3))
    image = (base + draw.normal(0, noise, base.shape)).clip(0, 255).astype(np.uint8)
    return Frame.of(draw.normal(size=(H, W, D)).astype(np.float32), image)


def slow(own: Frame, others: list[Frame], tolerance: float) -> np.ndarray:
    result = np.zeros((H, W, D))
    for y in range(H):
        for x in range(W):
            total, weights = own.codes[y, x].astype(np.float64), 1.0
            for other in others:
                squares = [
                    (float(own.colours[row, column, c]) - float(other.colours[row, column, c])) ** 2
                    for row in range(y * CELLS, (y + 1) * CELLS)
                    for column in range(x * CELLS, (x + 1) * CELLS)
                    for c in range(3)
                ]
                weight = math.exp(-sum(squares) / len(squares) / tolerance**2)
                total = total + weight * other.codes[y, x]
                weights += weight
            result[y, x] = total / weights
    return result


@pytest.mark.parametrize("tolerance", [5.0, 30.0, 1000.0])
def test_smoothed_equals_a_slow_version(tolerance: float) -> None:
    own, *others = (frame(seed) for seed in range(4))
    expected = slow(own, others, tolerance)
    np.testing.assert_allclose(smoothed(own, others, tolerance), expected, rtol=1e-4, atol=1e-6)


def test_without_neighbours_nothing_changes() -> None:
    own = frame(0)
    np.testing.assert_array_equal(smoothed(own, []), own.codes)


def test_another_size_is_left_out() -> None:
    own = frame(0)
    other = Frame(np.ones((H + 1, W, D), np.float32), np.zeros((1, 1, 3), np.uint8))
    np.testing.assert_array_equal(smoothed(own, [other]), own.codes)


def test_what_moves_keeps_its_code() -> None:
    first, second = frame(0, noise=0), frame(1, noise=0)
    moved = second.colours.copy()
    moved[:CELLS, :CELLS] = 255 - moved[:CELLS, :CELLS] // 4
    result = smoothed(first, [Frame(second.codes, moved)])
    np.testing.assert_allclose(result[0, 0], first.codes[0, 0], atol=1e-4)
    np.testing.assert_allclose(
        result[1:], (first.codes[1:] + second.codes[1:]) / 2, rtol=1e-5, atol=1e-6
    )


def test_colours_are_those_of_the_patch() -> None:
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    made = Frame.of(np.zeros((H, W, D), np.float32), image)
    np.testing.assert_array_equal(made.colours, resize(image, H * CELLS, W * CELLS))
    assert change(made, made).max() == 0


def test_a_still_scene_flickers_less_when_smoothed() -> None:
    draw = np.random.default_rng(0)
    scene = draw.normal(size=(12, 16, D))
    image = np.random.default_rng(1).integers(40, 200, (12 * 8, 16 * 8, 3))
    frames = []
    for _ in range(8):
        codes = (scene + draw.normal(0, 0.7, scene.shape)).astype(np.float32)
        noisy = (image + draw.normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)
        frames.append((Frame.of(codes, noisy), noisy))

    def restless(reach: int) -> float:
        masks = []
        for number, (own, _) in enumerate(frames):
            near = range(max(number - reach, 0), min(number + reach + 1, len(frames)))
            others = [frames[other][0] for other in near if other != number]
            classes = smoothed(own, others).argmax(-1).astype(np.uint8)
            masks.append(classes.repeat(8, 0).repeat(8, 1))
        total = ClassChanges()
        for number in range(1, len(frames)):
            images = frames[number - 1][1], frames[number][1]
            total += flicker(images, (masks[number - 1], masks[number]))
        assert total.still > 0.9 * 7 * image[..., 0].size
        assert total.share is not None
        return total.share

    assert restless(2) < 0.6 * restless(0)
