"""A taught model reads patches as the nodes that they resemble."""

import numpy as np
import pytest

from stego_core.clustering.kmeans import unit
from stego_core.teaching.patch_graph import Projection
from stego_core.teaching.taught_classes import LEAST, SHARPNESS, TaughtClasses, log_probabilities


@pytest.fixture
def taught() -> TaughtClasses:
    features = np.asarray(unit(np.random.default_rng(0).normal(size=(50, 8))), np.float32)
    projection = Projection.of(features)
    probabilities = np.eye(5, dtype=np.float32)[np.arange(50) % 5]
    return TaughtClasses(projection, projection(features), probabilities)


def test_a_patch_like_a_node_has_its_classes(taught: TaughtClasses) -> None:
    features = taught.positions @ np.linalg.pinv(taught.projection.axes) + taught.projection.mean
    found = taught(np.asarray(7 * features, np.float32).reshape(5, 10, 8))  # of any length
    assert found.shape == (5, 10, 5)
    np.testing.assert_array_equal(found.argmax(axis=-1).ravel(), np.arange(50) % 5)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)


def test_no_class_is_ruled_out() -> None:
    found = np.exp(log_probabilities(np.array([[1.0, 0.0]], np.float32)))
    expected = np.array([1 + LEAST, LEAST]) ** SHARPNESS
    np.testing.assert_allclose(found[0], expected / expected.sum(), rtol=1e-4)
