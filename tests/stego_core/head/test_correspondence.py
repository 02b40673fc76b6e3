"""Correspondence, centring and pair losses against plain loops in float64."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from stego_core.head.correspondence import (
    Compared,
    batch_shifted_correspondences,
    batch_terms,
    correspondence,
    correspondence_loss,
    derangement,
    shifted_correspondence,
    spatially_centred,
)

Array = NDArray[np.float64]


def slow_cosines(a: Array, b: Array) -> Array:
    out = np.zeros((a.shape[0], a.shape[1], b.shape[1]))
    for image in range(a.shape[0]):
        for i, x in enumerate(a[image]):
            for j, y in enumerate(b[image]):
                dot = sum(float(p) * float(q) for p, q in zip(x, y, strict=True))
                out[image, i, j] = dot / (math.hypot(*x) * math.hypot(*y))
    return out


def slow_centred(f: Array) -> Array:
    out = np.zeros_like(f)
    everything = sum(f.flat) / f.size
    for image in range(f.shape[0]):
        for i in range(f.shape[1]):
            row = sum(f[image, i]) / f.shape[2]
            for j in range(f.shape[2]):
                out[image, i, j] = f[image, i, j] - row + everything
    return out


def slow_pair_loss(f: Array, s: Array, shift: float) -> float:
    centred = slow_centred(f)
    total = 0.0
    for index in np.ndindex(f.shape):
        total += -max(s[index], 0.0) * (centred[index] - shift)
    return total / f.size


def draw(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape)


def pair_loss(f: torch.Tensor, s: torch.Tensor, shift: float) -> torch.Tensor:
    return correspondence_loss(s, shifted_correspondence(f, shift))


def compared(rng: np.random.Generator, depth: int) -> Compared:
    """Three images of four tokens, not of norm 1, and two random partners for each."""
    sides = (torch.from_numpy(draw(rng, 3, 4, depth)) for _ in range(3))
    return Compared(*sides, torch.tensor([[1, 2, 0], [2, 0, 1]]))


def unit(values: Compared) -> Compared:
    return Compared(*(normalize(side, dim=-1) for side in values[:3]), values.partners)


class TestCorrespondence:
    def test_is_the_cosine_of_every_pair(self, rng: np.random.Generator) -> None:
        a, b = draw(rng, 2, 3, 5), draw(rng, 2, 4, 5)
        found = correspondence(torch.from_numpy(a), torch.from_numpy(b))
        np.testing.assert_allclose(found, slow_cosines(a, b), atol=1e-12)

    def test_ignores_lengths(self, rng: np.random.Generator) -> None:
        a, b = (torch.from_numpy(draw(rng, 1, 3, 5)) for _ in range(2))
        assert torch.allclose(correspondence(7 * a, b / 3), correspondence(a, b))

    def test_of_a_zero_token_is_zero_and_differentiable(self) -> None:
        zero = torch.zeros((1, 2, 3), requires_grad=True)
        found = correspondence(zero, torch.ones((1, 2, 3)))
        found.sum().backward()
        assert torch.equal(found.detach(), torch.zeros((1, 2, 2)))
        assert bool(zero.grad.isfinite().all())


class TestCentring:
    def test_takes_row_means_away_and_adds_the_old_mean(self, rng: np.random.Generator) -> None:
        f = draw(rng, 3, 4, 5) + 0.3
        np.testing.assert_allclose(spatially_centred(torch.from_numpy(f)), slow_centred(f))

    def test_keeps_the_global_mean_and_levels_the_rows(self, rng: np.random.Generator) -> None:
        f = torch.from_numpy(draw(rng, 3, 4, 5))
        centred = spatially_centred(f)
        assert torch.allclose(centred.mean(), f.mean())
        assert torch.allclose(centred.mean(dim=2), f.mean().expand(3, 4))


class TestPairLoss:
    @pytest.mark.parametrize("shift", [-0.2, 0.0, 0.37])
    def test_equals_the_loop(self, rng: np.random.Generator, shift: float) -> None:
        f, s = draw(rng, 2, 4, 5), draw(rng, 2, 4, 5)
        found = pair_loss(torch.from_numpy(f), torch.from_numpy(s), shift)
        assert found.item() == pytest.approx(slow_pair_loss(f, s, shift), abs=1e-12)

    def test_opposed_codes_feel_nothing(self, rng: np.random.Generator) -> None:
        s = -torch.rand((1, 3, 3), dtype=torch.float64)
        s.requires_grad_()
        loss = pair_loss(torch.from_numpy(draw(rng, 1, 3, 3)), s, 0.1)
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(s.grad, torch.zeros_like(s))

    def test_a_larger_shift_repels(self, rng: np.random.Generator) -> None:
        f, s = torch.from_numpy(draw(rng, 1, 3, 3)), torch.rand((1, 3, 3), dtype=torch.float64)
        assert pair_loss(f, s, 0.6) - pair_loss(f, s, 0.5) == pytest.approx(0.1 * s.mean().item())


class TestBatchTerms:
    def test_each_term_pairs_the_right_tokens(self, rng: np.random.Generator) -> None:
        features, codes = compared(rng, 6), compared(rng, 2)
        found = batch_shifted_correspondences(unit(features), (0.1, 0.2, 0.3))
        losses, means = batch_terms(unit(codes), found)

        def slow(side: str, shift: float, order: list[int]) -> tuple[float, float]:
            f, s = (
                slow_cosines(each.anchor.numpy(), getattr(each, side).numpy()[order])
                for each in (features, codes)
            )
            assert s.min() < 0  # so the mean is seen to be unclamped
            return slow_pair_loss(f, s, shift), float(s.mean())

        in_order = [0, 1, 2]
        expected = [slow("anchor", 0.1, in_order), slow("positive", 0.2, in_order)]
        draws = [slow("other", 0.3, order) for order in ([1, 2, 0], [2, 0, 1])]
        expected.append((sum(d[0] for d in draws) / 2, sum(d[1] for d in draws) / 2))
        np.testing.assert_allclose([t.item() for t in losses], [e[0] for e in expected])
        np.testing.assert_allclose([t.item() for t in means], [e[1] for e in expected])


class TestDerangement:
    @pytest.mark.parametrize("size", [2, 3, 5, 16])
    def test_is_a_permutation_without_fixed_points(self, size: int) -> None:
        generator = torch.Generator().manual_seed(size)
        for _ in range(50):
            drawn = derangement(size, generator)
            assert sorted(drawn.tolist()) == list(range(size))
            assert all(i != j for i, j in enumerate(drawn.tolist()))

    def test_all_nine_derangements_of_four_are_equally_likely(self) -> None:
        generator = torch.Generator().manual_seed(0)
        counts = Counter(tuple(derangement(4, generator).tolist()) for _ in range(1800))
        assert len(counts) == 9
        assert all(abs(count - 200) < 5 * math.sqrt(200) for count in counts.values())

    @pytest.mark.parametrize("size", [0, 1])
    def test_too_few_images_are_their_own_partners(self, size: int) -> None:
        assert derangement(size, torch.Generator()).tolist() == list(range(size))
