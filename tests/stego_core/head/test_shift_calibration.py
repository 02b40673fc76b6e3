"""Shifts measured on the features: against loops, and on features whose kinds are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stego_core.head.correspondence import correspondence_loss, shifted_correspondence
from stego_core.head.shift_calibration import (
    KINDS,
    PLAIN,
    SHIFTED,
    Attracting,
    Tokens,
    coarse_kinds,
    measure,
    same_kind,
)

CHANNELS = 16


def images_of(kinds: Tensor, noise: float, seed: int = 0) -> Tensor:
    """Tokens (B, n, C): one of six orthogonal directions each, and noise."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.eye(CHANNELS)[kinds]
    return tokens + noise * torch.randn(tokens.shape, generator=generator)


def drawn(seed: int, kinds: int, noise: float = 0.05) -> tuple[Tokens, Tokens, Tokens]:
    """Three kinds of pairs of images of which each shows the given number of kinds."""
    generator = torch.Generator().manual_seed(seed)

    def images() -> Tensor:
        rows = [torch.randperm(KINDS, generator=generator)[:kinds] for _ in range(8)]
        return torch.stack([row[torch.randint(kinds, (40,), generator=generator)] for row in rows])

    first, second = images(), images()
    one, other = images_of(first, noise, seed), images_of(second, noise, seed + 1)
    again = images_of(first, noise, seed + 2)
    return Tokens(one, one), Tokens(one, again), Tokens(one, other)


def slow_share(pairs: Tokens, kinds: np.ndarray) -> float:
    """The share of pairs of one kind, pair by pair."""
    same = total = 0
    for image, partner in zip(pairs.one, pairs.other, strict=True):
        for token in image:
            for opposite in partner:
                nearest = [
                    max(range(len(kinds)), key=lambda k, t=t: float(kinds[k] @ t.numpy()))
                    for t in (token, opposite)
                ]
                same += nearest[0] == nearest[1]
                total += 1
    return same / total


def test_share_of_one_kind_equals_the_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    pairs = Tokens(*(torch.randn(2, 5, 4, generator=generator) for _ in range(2)))
    kinds = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    assert same_kind(pairs, kinds) == pytest.approx(slow_share(pairs, kinds))


def test_kinds_that_are_there_are_found() -> None:
    tokens = images_of(torch.arange(600) % KINDS, 0.05)
    for found in coarse_kinds(tokens, seed=0):
        order = found @ np.eye(CHANNELS, dtype=np.float32)[:KINDS].T
        assert sorted(order.argmax(axis=1)) == list(range(KINDS))
        assert (order.max(axis=1) > 0.99).all()


def test_fewer_tokens_than_kinds_are_kinds_of_their_own() -> None:
    assert coarse_kinds(torch.eye(CHANNELS)[:3], seed=0)[0].shape == (3, CHANNELS)


@pytest.mark.parametrize("shown", [2, 4])
def test_shares_follow_what_an_image_shows(shown: int) -> None:
    """Images of two kinds are of one kind in half of their pairs."""
    measured = measure([drawn(seed, shown) for seed in range(12)], 0, Attracting(1, 0.9, 0.5, 0.1))
    assert measured.shares.self == pytest.approx(1 / shown, abs=0.03)
    assert measured.shares.knn == pytest.approx(0.9 / shown, abs=0.03)
    assert measured.shares.rand == pytest.approx(0.5 / KINDS + 0.1 / shown, abs=0.03)


@pytest.mark.parametrize("centring", [True, False])
def test_as_many_pairs_attract_as_the_shares_say(centring: bool) -> None:
    """Attraction is told by the sign of the loss's slope in the code correspondence."""
    batches = [drawn(seed, 3, noise=0.4) for seed in range(6)]
    measured = measure(batches, 0, SHIFTED, centring)
    for kind, shift in enumerate(measured.shifts):
        attracted = []
        for pairs in batches:
            one, other = (part / part.norm(dim=-1, keepdim=True) for part in pairs[kind])
            codes = torch.full((8, 40, 40), 0.5, requires_grad=True)
            correspondence_loss(
                codes, shifted_correspondence(one @ other.transpose(-1, -2), shift, centring)
            ).backward()
            assert codes.grad is not None
            attracted.append(float((codes.grad < 0).float().mean()))
        assert np.mean(attracted) == pytest.approx(measured.shares[kind], abs=2e-3)


def test_the_same_seed_measures_the_same_and_others_nearly_so() -> None:
    batches = [drawn(seed, 3, noise=0.3) for seed in range(6)]
    first = measure(batches, 0, PLAIN)
    assert measure(batches, 0, PLAIN) == first
    assert measure(batches, 1, PLAIN).shifts == pytest.approx(first.shifts, abs=0.03)


def test_constant_features_give_finite_shifts() -> None:
    """Nothing tells the patches apart: every pair is of one kind."""
    pairs = Tokens(*(torch.ones(4, 9, CHANNELS) for _ in range(2)))
    measured = measure([(pairs, pairs, pairs)], 0, SHIFTED)
    assert measured.shares == (1, 1, 0.25)
    assert all(math.isfinite(shift) for shift in measured.shifts)
