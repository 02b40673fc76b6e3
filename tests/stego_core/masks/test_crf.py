"""The dense CRF against slow mean-field inference in float64, and its behaviour at extremes.

The appearance filter works on a permutohedral lattice, which approximates a Gaussian kernel: its
messages differ from exact ones by 3 to 7 % in norm. A wrong weight or σ is off by more than 9 %.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import functional as transforms

from stego_core.masks.crf import Crf, Lattice, Smoothing, mean_field, released_pixels

Scores = NDArray[np.float32]
Image = NDArray[np.uint8]
CLOSE = 0.07
GAUSSIAN = Crf(iterations=1, bilateral_weight=0)
BILATERAL = Crf(iterations=1, gaussian_weight=0)
SMALL_BILATERAL = replace(BILATERAL, bilateral_xy=2, bilateral_rgb=10)  # σ within a tiny image


def log_softmax(logits: NDArray[np.float64]) -> Scores:
    return (logits - np.log(np.exp(logits).sum(axis=0))).astype(np.float32)


@pytest.fixture
def halves(rng: np.random.Generator) -> tuple[Scores, Image]:
    """Noisy scores (3, 9, 11) that favour class 0 on the left, and an image with that edge."""
    logits = rng.normal(size=(3, 9, 11))
    logits[0, :, :5] += 2
    image = np.full((9, 11, 3), 100)
    image[:, 5:] += 8
    return log_softmax(logits), (image + rng.integers(-2, 3, (9, 11, 3))).astype(np.uint8)


def slow_kernel(features: list[list[float]]) -> NDArray[np.float64]:
    """k_ij = exp(−|f_i − f_j|² / 2), divided by the roots of both row sums."""
    n = len(features)
    kernel = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            square = sum((a - b) ** 2 for a, b in zip(features[i], features[j], strict=True))
            kernel[i, j] = np.exp(-square / 2)
    sums = kernel.sum(axis=1)
    return kernel / np.sqrt(np.outer(sums, sums))


def slow_pairwise(image: Image, crf: Crf) -> NDArray[np.float64]:
    """Both kernels of every pair of pixels, weighted."""
    near, alike = [], []
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            near.append([x / crf.gaussian_xy, y / crf.gaussian_xy])
            colour = [float(level) / crf.bilateral_rgb for level in image[y, x]]
            alike.append([x / crf.bilateral_xy, y / crf.bilateral_xy, *colour])
    return crf.gaussian_weight * slow_kernel(near) + crf.bilateral_weight * slow_kernel(alike)


def slow_refine(scores: Scores, image: Image, crf: Crf) -> NDArray[np.float64]:
    """Mean field with Potts compatibility: equal labels are rewarded by their kernel."""
    unary = scores.reshape(len(scores), -1).astype(float)
    pairwise = slow_pairwise(image, crf)
    q = np.exp(unary) / np.exp(unary).sum(axis=0)
    for _ in range(crf.iterations):
        q = np.exp(unary + q @ pairwise)
        q /= q.sum(axis=0)
    return q.reshape(scores.shape)


def message(marginals: NDArray[Any], scores: Scores) -> NDArray[np.float64]:
    """What one iteration added to the log scores, up to a constant per pixel."""
    added = np.log(marginals.astype(float)) - scores
    return added - added.mean(axis=0)


def deviation(scores: Scores, image: Image, used: Crf, expected: Crf) -> float:
    """Relative difference of the messages of one iteration."""
    found = message(used.refine(scores, image), scores)
    exact = message(slow_refine(scores, image, expected), scores)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


class TestMeanField:
    @pytest.mark.parametrize(
        "crf",
        [Crf(iterations=1), GAUSSIAN, BILATERAL, SMALL_BILATERAL],
        ids=["both", "gaussian", "bilateral", "small bilateral"],
    )
    def test_one_iteration_sends_the_exact_messages(
        self, halves: tuple[Scores, Image], crf: Crf
    ) -> None:
        assert deviation(*halves, crf, crf) < CLOSE

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            (GAUSSIAN, {"gaussian_xy": 2.0}),
            (GAUSSIAN, {"gaussian_xy": 0.5}),
            (GAUSSIAN, {"gaussian_weight": 2.0}),
            (BILATERAL, {"bilateral_rgb": 1.5}),
            (BILATERAL, {"bilateral_rgb": 6.0}),
            (BILATERAL, {"bilateral_weight": 3.0}),
            (SMALL_BILATERAL, {"bilateral_xy": 1.0}),
            (SMALL_BILATERAL, {"bilateral_xy": 4.0}),
        ],
        ids=str,
    )
    def test_a_wrong_parameter_would_be_noticed(
        self, halves: tuple[Scores, Image], right: Crf, wrong: dict[str, float]
    ) -> None:
        assert deviation(*halves, replace(right, **wrong), right) > 1.2 * CLOSE

    def test_iterations_repeat_it(self, halves: tuple[Scores, Image]) -> None:
        crf = Crf(iterations=10)
        difference = crf.refine(*halves) - slow_refine(*halves, crf)
        assert abs(difference).mean() < 0.02
        assert (
            abs(crf.refine(*halves) - slow_refine(*halves, replace(crf, iterations=1))).mean()
            > 0.05
        )

    def test_defaults_are_the_published_ones(self) -> None:
        assert Crf() == Crf(10, 1.0, 3.0, 67.0, 3.0, 4.0)

    @pytest.mark.parametrize("classes", [15, 16, 17, 40])
    def test_any_number_of_classes(self, rng: np.random.Generator, classes: int) -> None:
        scores = log_softmax(2 * rng.normal(size=(classes, 6, 7)))
        image = rng.integers(90, 110, (6, 7, 3), dtype=np.uint8)
        difference = Crf(iterations=5).refine(scores, image) - slow_refine(
            scores, image, Crf(iterations=5)
        )
        assert abs(difference).mean() < 0.02

    def test_unlikely_classes_stay_unlikely(self, halves: tuple[Scores, Image]) -> None:
        scores, image = halves
        never = np.full((1, *scores.shape[1:]), -200, np.float32)
        found = Crf().refine(np.concatenate([scores, never]), image)
        np.testing.assert_allclose(found[:-1], Crf().refine(scores, image), atol=1e-5)
        assert found[-1].max() < 1e-20


class TestLattice:
    def test_features_too_far_apart_are_refused(self) -> None:
        with pytest.raises(ValueError, match="enlarge sigma"):
            Lattice(np.full((1, 5), 1e6, np.float32))

    @pytest.mark.parametrize("shape", [(4, 0), (4, 7), (4,)])
    def test_other_shapes_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="1 to 6"):
            Lattice(np.zeros(shape, np.float32))

    @pytest.mark.parametrize(("alike", "near"), [(5, 4), (4, 5)])
    def test_filters_of_other_pixels_are_refused(self, alike: int, near: int) -> None:
        lattice, smoothing = Lattice(np.zeros((alike, 2), np.float32)), Smoothing(1, near, 1.0)
        with pytest.raises(ValueError, match="differ in pixels"):
            mean_field(np.zeros((3, 4), np.float32), (lattice, 1.0), (smoothing, 1.0), 1)


class TestResult:
    @pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (37, 53)])
    @pytest.mark.parametrize("classes", [1, 2, 5])
    def test_sums_to_one_at_any_size(
        self, rng: np.random.Generator, size: tuple[int, int], classes: int
    ) -> None:
        scores = log_softmax(rng.normal(size=(classes, *size)))
        found = Crf().refine(scores, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        assert (found.shape, found.dtype) == (scores.shape, np.float32)
        np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)

    def test_no_iterations_leave_the_probabilities(self, halves: tuple[Scores, Image]) -> None:
        np.testing.assert_allclose(Crf(iterations=0).refine(*halves), np.exp(halves[0]), rtol=1e-6)

    def test_inputs_are_left_alone_and_may_be_views(self, halves: tuple[Scores, Image]) -> None:
        scores, image = halves
        kept = scores.copy(), image.copy()
        mirrored = Crf().refine(scores[:, :, ::-1], image[:, ::-1])
        again = Crf().refine(scores[:, :, ::-1].copy(), image[:, ::-1].copy())
        assert np.array_equal(mirrored, again)
        assert np.array_equal(kept[0], scores)
        assert np.array_equal(kept[1], image)

    def test_noise_is_cleaned_up_to_the_image_edge(self, rng: np.random.Generator) -> None:
        truth = (np.indices((40, 60))[1] + np.indices((40, 60))[0] // 2 > 35).astype(int)
        image = np.where(truth[..., None], (200, 60, 60), (60, 60, 200)).astype(np.uint8)
        logits = np.stack([1 - truth, truth]) * 1.0 + rng.normal(size=(2, 40, 60))
        scores = log_softmax(logits)
        before = (scores.argmax(axis=0) == truth).mean()
        after = (Crf().refine(scores, image).argmax(axis=0) == truth).mean()
        assert before < 0.85
        assert after > 0.99


class TestReleasedPixels:
    def test_every_level_of_every_colour_is_the_byte_that_torchvision_makes(self) -> None:
        levels = np.arange(256, dtype=np.uint8)
        image = np.stack([levels, levels[::-1], np.roll(levels, 7)], axis=-1)[None]
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        normal = transforms.normalize(transforms.to_tensor(image), mean, std)
        back = torch.stack(
            [c.mul(s).add(m) for c, s, m in zip(normal, std, mean, strict=True)]
        )  # fmt: skip
        expected = np.asarray(transforms.to_pil_image(back))[..., ::-1]
        found = released_pixels(image)
        np.testing.assert_array_equal(found, expected)
        lower = image[..., ::-1].astype(int) - found
        assert set(np.unique(lower)) == {0, 1}  # cut off, not rounded

    def test_a_crf_of_them_is_that_of_the_other_image(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
        scores = np.random.default_rng(1).normal(size=(3, 16, 20)).astype(np.float32)
        handed = np.ascontiguousarray(released_pixels(image))
        released = Crf(released_pixels=True).refine(scores, image)
        np.testing.assert_array_equal(released, Crf().refine(scores, handed))
        assert np.abs(released - Crf().refine(scores, image)).max() > 1e-4
