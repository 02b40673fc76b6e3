"""The graph of patches: positions, neighbours and weights against slow versions."""

import numpy as np
import pytest

from stego_core.teaching.patch_graph import WIDTH, PatchGraph, Projection, nearest


@pytest.fixture
def features() -> np.ndarray:
    spread = 3 * 0.6 ** np.arange(12)
    return (np.random.default_rng(0).normal(size=(200, 12)) * spread + 5).astype(np.float32)


class TestProjection:
    def test_positions_keep_distances_up_to_one_scale(self, features: np.ndarray) -> None:
        positions = Projection.of(features, 12)(features).astype(np.float64)
        centred = features - features.mean(axis=0, dtype=np.float64)
        scale = np.sqrt((centred**2).sum(axis=1).mean())
        expected = np.linalg.norm(centred[:20, None] - centred[None, :20], axis=-1) / scale
        found = np.linalg.norm(positions[:20, None] - positions[None, :20], axis=-1)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert (positions**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)

    def test_the_leading_axes_are_kept(self, features: np.ndarray) -> None:
        few = Projection.of(features, 3)
        assert few.axes.shape == (12, 3)
        assert np.abs(few.axes).argmax(axis=0).tolist() == [0, 1, 2]
        assert (few.axes[[0, 1, 2], [0, 1, 2]] > 0).all()  # signs are not the library's

    def test_equal_features_lie_at_one_place(self) -> None:
        same = np.ones((5, 4), np.float32)
        np.testing.assert_array_equal(Projection.of(same)(same), np.zeros((5, 4)))


class TestPatchGraph:
    def test_neighbours_are_the_nearest_others(self, features: np.ndarray) -> None:
        graph = PatchGraph.of(features, 4)
        distance = np.linalg.norm(features[:, None].astype(float) - features[None], axis=-1)
        np.fill_diagonal(distance, np.inf)
        expected = np.argsort(distance, axis=1)[:, :4]
        np.testing.assert_array_equal(graph.near.nodes, expected)
        squared = np.take_along_axis(distance, expected, axis=1) ** 2
        np.testing.assert_allclose(graph.near.weights, np.exp(-WIDTH * squared), atol=1e-4)

    def test_no_node_is_its_own_neighbour_among_equal_ones(self) -> None:
        graph = PatchGraph.of(np.zeros((30, 3), np.float32), 5)
        assert (graph.near.nodes != np.arange(30)[:, None]).all()
        np.testing.assert_array_equal(graph.near.weights, np.ones((30, 5)))

    def test_a_graph_may_have_fewer_nodes_than_neighbours(self) -> None:
        graph = PatchGraph.of(np.eye(3, dtype=np.float32), 10)
        assert graph.near.nodes.shape == (3, 2)
        assert graph.nearest_nodes(np.eye(3, dtype=np.float32)[:1]).nodes.tolist()[0][0] == 0


def test_blocks_change_nothing(features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nearest(features, features, 3)
    monkeypatch.setattr("stego_core.teaching.patch_graph.BLOCK", 7)
    parts = nearest(features, features, 3)
    np.testing.assert_array_equal(whole.nodes, parts.nodes)
    np.testing.assert_allclose(whole.weights, parts.weights, rtol=1e-3)
