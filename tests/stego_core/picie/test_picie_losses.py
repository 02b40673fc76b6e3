"""PiCIE's losses against loops in float64."""

import math

import numpy as np
import pytest
import torch

from stego_core.picie.picie_losses import class_weights, logits, picie_losses

B, D, K, SIDE = 2, 5, 3, 4


def example() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Maps (2, B, D, h, w), labels, centroids and weights of two views."""
    generator = np.random.default_rng(7)
    maps = generator.standard_normal((2, B, D, SIDE, SIDE))
    maps /= np.linalg.norm(maps, axis=2, keepdims=True)
    labels = generator.integers(0, K, (2, B, SIDE, SIDE))
    return maps, labels, generator.standard_normal((2, K, D)), generator.uniform(0.1, 1, (2, K))


def slow_entropy(
    maps: np.ndarray, labels: np.ndarray, centroids: np.ndarray, weights: np.ndarray
) -> float:
    """Weighted mean over all cells of −log softmax of the label's score."""
    total = norm = 0.0
    for image in range(B):
        for row in range(SIDE):
            for column in range(SIDE):
                vector = maps[image, :, row, column]
                scores = [sum(vector[d] * centroid[d] for d in range(D)) for centroid in centroids]
                label = labels[image, row, column]
                entropy = math.log(sum(math.exp(score) for score in scores)) - scores[label]
                total += weights[label] * entropy
                norm += weights[label]
    return total / norm


def test_within_and_across_are_weighted_cross_entropies() -> None:
    maps, labels, centroids, weights = example()

    def entropy(view: int, clusters: int) -> float:
        return slow_entropy(maps[view], labels[clusters], centroids[clusters], weights[clusters])

    first, second, *rest = (
        torch.from_numpy(each) for each in (maps[0], maps[1], labels, centroids, weights)
    )
    losses = picie_losses((first, second), *rest)
    within, across = (entropy(0, 0) + entropy(1, 1)) / 2, (entropy(0, 1) + entropy(1, 0)) / 2
    assert float(losses.within) == pytest.approx(within, rel=1e-12)
    assert float(losses.across) == pytest.approx(across, rel=1e-12)
    assert float(losses.total) == pytest.approx((within + across) / 2, rel=1e-12)
    assert abs(within - across) > 1e-3  # else the test could not tell them apart


def test_gradients_reach_maps_and_no_centroid() -> None:
    maps, labels, centroids, weights = (torch.from_numpy(each) for each in example())
    first, second = (view.clone().requires_grad_() for view in maps)
    picie_losses((first, second), labels, centroids, weights).total.backward()
    assert first.grad is not None
    assert second.grad is not None
    assert not centroids.requires_grad


def test_logits_are_products_with_the_centroids() -> None:
    maps, _, centroids, _ = example()
    found = logits(torch.from_numpy(maps[0]), torch.from_numpy(centroids[0]))
    expected = np.einsum("bdhw,kd->bkhw", maps[0], centroids[0])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_weights_are_shares_of_the_pixels() -> None:
    weights = class_weights(torch.tensor([[6, 3, 1, 0], [1, 1, 1, 1]]))
    np.testing.assert_allclose(weights.numpy(), [[0.6, 0.3, 0.1, 0.0], [0.25] * 4], rtol=1e-6)
    large = class_weights(torch.tensor([2**40 + 1, 2**40]))  # sums beyond float32's digits
    assert float(large.sum()) == 1
