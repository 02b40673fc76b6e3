"""Label shares and the fit of the linear probe."""

import math

import numpy as np
import pytest
import torch

from stego_core import probe
from stego_core.probe import Probe, fit, label_shares


class TestLabelShares:
    def test_count_the_pixels_of_every_class(self, rng: np.random.Generator) -> None:
        labels = rng.integers(-1, 3, (6, 8)).astype(np.int16)
        expected = np.zeros((3, 2, 3))
        for y in range(6):
            for x in range(8):
                if labels[y, x] >= 0:
                    expected[y // 2, x // 4, labels[y, x]] += 1 / 8
        np.testing.assert_allclose(label_shares(labels, 3, 2, 3), expected)

    def test_cross_entropy_equals_the_mean_over_pixels(self, rng: np.random.Generator) -> None:
        labels = rng.integers(-1, 4, (6, 6))
        logits = rng.normal(size=(2, 2, 4))
        total = 0.0
        for y in range(6):
            for x in range(6):
                if labels[y, x] >= 0:
                    z = logits[y // 3, x // 3]
                    total -= z[labels[y, x]] - math.log(sum(math.exp(v) for v in z))
        log_probability = torch.log_softmax(torch.from_numpy(logits), -1).numpy()
        by_share = -(label_shares(labels, 2, 2, 4) * log_probability).sum(-1).mean()
        assert by_share == pytest.approx(total / 36, rel=1e-6)


class TestFit:
    def test_first_step_follows_the_gradient_of_the_loss(self, rng: np.random.Generator) -> None:
        codes = np.repeat(rng.normal(size=(1, 4)).astype(np.float32), 3, axis=0)
        shares = np.repeat(np.array([[0.7, 0.1, 0.2]], np.float32), 3, axis=0)
        fitted = fit(codes, shares, seed=0, steps=1)
        # softmax of zeros is a third each; Adam's first step is the rate times the sign
        gradient = 1 / 3 - np.array([0.7, 0.1, 0.2])
        np.testing.assert_allclose(fitted.bias, -5e-3 * np.sign(gradient), rtol=1e-3)
        expected = -5e-3 * np.sign(np.outer(gradient, codes[0]))
        np.testing.assert_allclose(fitted.weight, expected, rtol=1e-3)

    def test_void_pixels_take_no_part(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probe, "BATCH_TOKENS", 256)
        # one patch all class 0, one half class 1 and half void: 2 to 1
        shares = np.array([[1, 0], [0, 0.5]], np.float32)
        fitted = fit(np.zeros((2, 1), np.float32), shares, seed=0, steps=600)
        assert fitted.bias[0] - fitted.bias[1] == pytest.approx(math.log(2), abs=0.1)

    def test_tells_separable_codes_apart(self, rng: np.random.Generator) -> None:
        truth = rng.integers(0, 3, 300)
        centres = np.array([[2, 0], [-2, 1], [0, -2]])
        codes = (centres[truth] + rng.normal(size=(300, 2)) * 0.2).astype(np.float32)
        fitted = fit(codes, np.eye(3, dtype=np.float32)[truth], seed=0, steps=200)
        assert (fitted.logits(codes).argmax(-1) == truth).mean() > 0.99

    def test_depends_on_the_seed_alone(self, rng: np.random.Generator) -> None:
        codes = rng.normal(size=(50, 3)).astype(np.float32)
        shares = rng.dirichlet(np.ones(2), 50).astype(np.float32)
        before = torch.get_rng_state()
        first, again, other = (fit(codes, shares, seed, steps=5) for seed in (1, 1, 2))
        assert torch.equal(before, torch.get_rng_state())
        assert np.array_equal(first.weight, again.weight)
        assert not np.array_equal(first.weight, other.weight)


def test_logits_are_affine() -> None:
    affine = Probe(np.array([[1, 2], [0, -1]], np.float32), np.array([0.5, 0], np.float32))
    assert affine.logits(np.array([[[3, 4]]], np.float32)).tolist() == [[[11.5, -4]]]
