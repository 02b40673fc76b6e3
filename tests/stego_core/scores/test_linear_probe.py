"""Label shares and the fit of the linear probe."""

import math

import numpy as np
import pytest
import torch

from stego_core.scores import linear_probe
from stego_core.scores.linear_probe import PixelFit, Probe, fit, label_shares, log_probabilities


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
        monkeypatch.setattr(linear_probe, "BATCH_TOKENS", 256)
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


class TestPixelFit:
    def test_loss_is_the_mean_over_known_pixels_of_interpolated_logits(
        self, rng: np.random.Generator
    ) -> None:
        codes = rng.normal(size=(2, 2, 3, 4)).astype(np.float32)
        labels = rng.integers(-1, 3, (2, 6, 9))
        fitted = PixelFit(4, 3, "cpu")
        with torch.no_grad():
            fitted.linear.weight.copy_(torch.from_numpy(rng.normal(size=(3, 4))))
        weight = fitted.linear.weight.detach().numpy().astype(np.float64)
        total, known = 0.0, 0
        for image in range(2):
            for y in range(6):
                for x in range(9):
                    if labels[image, y, x] < 0:
                        continue
                    z = weight @ between(codes[image], (y + 0.5) / 3 - 0.5, (x + 0.5) / 3 - 0.5)
                    total += np.log(np.exp(z).sum()) - z[labels[image, y, x]]
                    known += 1
        loss = fitted.step(torch.from_numpy(codes), torch.from_numpy(labels))
        assert loss == pytest.approx(total / known, rel=1e-5)

    def test_learns_what_can_be_learned(self, rng: np.random.Generator) -> None:
        labels = rng.integers(0, 3, (4, 5, 5))
        codes = torch.from_numpy(np.eye(3, dtype=np.float32)[labels])
        fitted = PixelFit(3, 3, "cpu")
        losses = [fitted.step(codes, torch.from_numpy(labels)) for _ in range(300)]
        assert losses[0] == pytest.approx(math.log(3))
        assert losses[-1] < 0.5
        assert (fitted.result().logits(codes.numpy()).argmax(-1) == labels).all()

    def test_a_batch_of_void_changes_nothing(self) -> None:
        fitted = PixelFit(2, 3, "cpu")
        assert math.isnan(fitted.step(torch.ones(1, 2, 2, 2), torch.full((1, 4, 4), -1)))
        assert not fitted.result().weight.any()

    def test_leaves_the_global_generator_alone(self) -> None:
        before = torch.get_rng_state()
        PixelFit(2, 3, "cpu")
        assert torch.equal(before, torch.get_rng_state())


def between(maps: np.ndarray, y: float, x: float) -> np.ndarray:
    """Value of a map (h, w, D) at a place between its cells, borders repeated."""
    y, x = (min(max(at, 0), length - 1) for at, length in zip((y, x), maps.shape, strict=False))
    top, left = int(y), int(x)
    bottom, right = (min(at + 1, n - 1) for at, n in zip((top, left), maps.shape, strict=False))
    above = maps[top, left] * (1 - x + left) + maps[top, right] * (x - left)
    below = maps[bottom, left] * (1 - x + left) + maps[bottom, right] * (x - left)
    return above * (1 - y + top) + below * (y - top)


def test_log_probabilities_have_a_floor() -> None:
    found = log_probabilities(np.array([[0, 0], [0, 100]], np.float32))
    np.testing.assert_allclose(found[0], [-math.log(2)] * 2, rtol=1e-6)
    np.testing.assert_allclose(found[1], [math.log(1e-5), 0], rtol=1e-6)
