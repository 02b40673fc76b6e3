"""Mini-batch k-means against sums in float64, and on clusters that are known."""

import numpy as np
import pytest
import torch

from stego_core.errors import CapacityError
from stego_core.picie import minibatch_kmeans
from stego_core.picie.minibatch_kmeans import (
    MiniBatchKMeans,
    macqueen,
    nearest,
    nearest_cells,
    start,
)


def vectors(count: int, depth: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, depth)).astype(np.float32)


def slow_nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """By the squared distances themselves, in float64."""
    points, centroids = points.astype(np.float64), centroids.astype(np.float64)
    return np.array([np.argmin([((x - c) ** 2).sum() for c in centroids]) for x in points])


class TestNearest:
    def test_2fc_minus_c2_finds_the_least_distance(self) -> None:
        points, centroids = vectors(200, 6), vectors(5, 6, seed=1) * 0.7
        found = nearest(torch.from_numpy(points), torch.from_numpy(centroids))
        np.testing.assert_array_equal(found.numpy(), slow_nearest(points, centroids))

    def test_a_longer_centroid_does_not_win_by_its_length(self) -> None:
        points = torch.tensor([[1.0, 0.0]])
        centroids = torch.tensor([[9.0, 0.0], [0.5, 0.0]])  # f · c alone would take the first
        assert nearest(points, centroids).tolist() == [1]

    def test_cells_keep_their_places(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minibatch_kmeans, "BLOCK", 7)
        maps, centroids = vectors(2 * 4 * 3 * 5, 1).reshape(2, 4, 3, 5), vectors(3, 4, seed=1)
        found = nearest_cells(torch.from_numpy(maps), torch.from_numpy(centroids))
        assert found.shape == (2, 3, 5)
        for image in range(2):
            expected = slow_nearest(maps[image].reshape(4, -1).T, centroids).reshape(3, 5)
            np.testing.assert_array_equal(found[image].numpy(), expected)


class TestMacqueen:
    @pytest.mark.parametrize("block", [3, 65_536])
    def test_two_batches_against_float64(self, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minibatch_kmeans, "BLOCK", block)
        centroids, counts = vectors(4, 3, seed=1), np.array([5.0, 0.0, 2.0, 9.0])
        state = torch.from_numpy(centroids), torch.from_numpy(counts)
        slow, seen = centroids.astype(np.float64), counts.copy()
        for seed in (2, 3):
            batch = vectors(20, 3, seed)
            state = macqueen(*state, torch.from_numpy(batch))
            labels = slow_nearest(batch, slow)
            for k in range(4):
                members = batch[labels == k].astype(np.float64)
                if len(members):
                    seen[k] += len(members)
                    rate = len(members) / seen[k]
                    slow[k] = (1 - rate) * slow[k] + rate * members.mean(axis=0)
        np.testing.assert_allclose(state[0].numpy(), slow, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(state[1].numpy(), seen)

    def test_it_is_the_mean_of_all_that_was_assigned(self) -> None:
        """MacQueen's point: with counts as rates, order and batches do not matter to the mean."""
        batch = torch.tensor([[1.0], [2.0], [6.0]])
        one = macqueen(torch.tensor([[3.0]]), torch.tensor([1.0], dtype=torch.float64), batch)
        assert one[0].item() == 3  # (3 + 1 + 2 + 6) / 4
        assert one[1].item() == 4

    def test_a_cluster_without_vectors_stays(self) -> None:
        centroids = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
        counts = torch.tensor([1.0, 0.0], dtype=torch.float64)
        moved, seen = macqueen(centroids, counts, torch.tensor([[1.0, 0.0]]))
        assert moved.tolist() == [[0.5, 0.0], [9.0, 9.0]]
        assert seen.tolist() == [2, 0]


def piles(seed: int, images: int = 2, side: int = 8) -> torch.Tensor:
    """Maps (images, 2, side, side): a quarter of the cells near (1, 0), the rest near (0, 1)."""
    generator = np.random.default_rng(seed)
    maps = np.zeros((images, 2, side, side), np.float32)
    maps[:, 1], maps[:, :, : side // 4] = 1, np.array([1, 0])[None, :, None, None]
    return torch.from_numpy(maps + generator.normal(0, 0.01, maps.shape).astype(np.float32))


class TestMiniBatchKMeans:
    def run(self, start_batches: int, batches: int) -> MiniBatchKMeans:
        run = MiniBatchKMeans(2, start_batches, np.random.default_rng(3))
        for seed in range(batches):
            run.add(piles(seed))
        return run

    @pytest.mark.parametrize(("start_batches", "batches"), [(1, 4), (3, 3), (2, 5)])
    def test_known_piles_are_found_and_every_pixel_counts(
        self, start_batches: int, batches: int
    ) -> None:
        run = self.run(start_batches, batches)
        order = torch.argsort(run.result()[:, 1])  # the smaller pile first
        expected = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        torch.testing.assert_close(run.result()[order], expected, atol=0.01, rtol=0)
        assert run.counts is not None
        assert run.counts[order].tolist() == [batches * 32, batches * 96]

    def test_counts_of_a_sampled_start_stand_for_all_pixels(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(minibatch_kmeans, "START_VECTORS", 64)
        counts = self.run(2, 2).counts
        assert counts is not None
        assert counts.sum().item() == pytest.approx(256)

    def test_the_same_generator_gives_the_same_centroids(self) -> None:
        first, second = (self.run(2, 4).result() for _ in range(2))
        assert torch.equal(first, second)


def test_too_few_pixels() -> None:
    with pytest.raises(CapacityError, match=r"3 pixels .* cannot make 4 clusters"):
        start(vectors(3, 2), 4, np.random.default_rng(0))
