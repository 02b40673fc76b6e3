"""The head's formula, its dropout, and where its weights come from."""

import numpy as np
import pytest
import torch

from stego_core.head.head import Head, channels_kept


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def affine(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    return np.array(
        [
            bias[i] + sum(weight[i, j] * x[j] for j in range(weight.shape[1]))
            for i in range(len(bias))
        ]
    )


class TestFormula:
    def test_equals_the_loop_over_tokens(self, rng: np.random.Generator) -> None:
        head = Head.create(5, 3, generator())
        features = rng.normal(size=(2, 4, 2, 5))
        found = head(torch.from_numpy(features.astype(np.float32))).detach().numpy()
        assert found.shape == (2, 4, 2, 3)
        for index in np.ndindex(2, 4, 2):
            token = features[index]
            hidden = np.maximum(affine(head.hidden, token), 0)
            expected = affine(head.linear, token) + affine(head.nonlinear, hidden)
            np.testing.assert_allclose(found[index], expected, atol=1e-5)


class TestDropout:
    def test_drops_channels_and_scales_the_rest(self) -> None:
        kept = channels_kept(4, 50, 0.25, generator())
        assert torch.equal(kept.unique(), torch.tensor([0, 1 / 0.75]))
        assert not torch.equal(kept[0], kept[1])

    def test_rate_is_the_probability(self) -> None:
        share = (channels_kept(100, 500, 0.1, generator()) == 0).double().mean()
        assert share.item() == pytest.approx(0.1, abs=0.007)  # five standard deviations

    def test_each_branch_has_its_own(self) -> None:
        head = Head.create(3, 3, generator())
        with torch.no_grad():
            for layer in (head.linear, head.hidden, head.nonlinear):
                layer.weight.copy_(torch.eye(3))
                layer.bias.zero_()
        kept = torch.tensor([[0.0, 2, 2]]), torch.tensor([[0.0, 0, 2]])
        assert head(torch.ones(1, 3), kept).tolist() == [[0, 2, 4]]

    def test_is_off_in_evaluation(self) -> None:
        head, features = Head.create(8, 3, generator(), dropout=0.5), torch.randn(2, 4, 8)
        everything = [torch.ones(8), torch.ones(8)]
        assert torch.equal(head(features), head(features, everything))

    def test_follows_its_generator_alone(self) -> None:
        first = channels_kept(2, 8, 0.5, generator(3))
        torch.manual_seed(99)
        assert torch.equal(first, channels_kept(2, 8, 0.5, generator(3)))
        assert not torch.equal(first, channels_kept(2, 8, 0.5, generator(4)))


class TestCreate:
    def test_weights_are_uniform_within_one_over_root_c(self) -> None:
        head = Head.create(64, 100, generator())
        for parameter in head.parameters():
            assert parameter.abs().max() <= 1 / 8
            assert parameter.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.25)

    def test_depends_on_the_generator_alone_and_leaves_the_global_state(self) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = Head.create(6, 4, generator()).state_dict()
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(2)
        again, other = (Head.create(6, 4, generator(seed)).state_dict() for seed in (0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not any(torch.equal(first[name], other[name]) for name in first)
