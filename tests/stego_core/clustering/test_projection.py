"""The plane of codes is that of the two leading eigenvectors of their covariance."""

import numpy as np
import pytest

from stego_core.clustering.projection import Plane


def test_axes_are_eigenvectors_of_the_covariance() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 6)) * [5, 1, 3, 0.5, 0.1, 0.1] + 2
    plane = Plane.of(vectors)
    values, axes = np.linalg.eigh(np.cov(vectors.T))
    assert plane.explained == pytest.approx(values[-2:].sum() / values.sum())
    for found, expected in zip(plane.axes, axes.T[::-1], strict=False):
        assert abs(found @ expected) == pytest.approx(1)
        assert found[np.abs(found).argmax()] > 0
    points = plane.points(vectors)
    assert points.shape == (200, 2)
    np.testing.assert_allclose(points, (vectors - vectors.mean(axis=0)) @ plane.axes.T, atol=1e-5)


def test_the_same_whichever_way_the_vectors_are_ordered() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)) * [4, 3, 2, 1]
    np.testing.assert_allclose(Plane.of(vectors).axes, Plane.of(vectors[::-1]).axes, atol=1e-9)


@pytest.mark.parametrize("scale", [1, 0.1, 1e-3, 70])
@pytest.mark.parametrize(("count", "rank"), [(1, 0), (2, 1), (9, 0), (9, 1)])
def test_fewer_axes_than_two_are_zero(count: int, rank: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    vectors = scale * (rng.normal(size=5) + rng.normal(size=(count, 1)) * rng.normal(size=5))
    vectors = vectors if rank else vectors[:1].repeat(count, axis=0)
    plane = Plane.of(vectors)
    assert plane.explained == pytest.approx(1)
    assert np.linalg.norm(plane.axes, axis=1) == pytest.approx([rank, 0])
    assert np.isfinite(plane.points(vectors)).all()
    assert not plane.axes[rank:].any()
    assert not plane.points(vectors)[:, rank:].any()
