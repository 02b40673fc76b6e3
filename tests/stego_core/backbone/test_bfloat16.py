"""Layers laid out for bfloat16 compute what torch's own do, and the kernel what attention is."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stego_core.backbone import bfloat16
from stego_core.backbone.bfloat16 import PackedLinear, TiledAttention
from stego_core.backbone.vit import bare_model, freeze

tiled = pytest.mark.skipif(not bfloat16.has_tiles(), reason="no products of tiles (AMX) here")
packed = pytest.mark.skipif(not bfloat16.packs(), reason="oneDNN does not compute in bfloat16 here")
STEP = 2**-8
"""Of bfloat16: the distance of neighbouring values, as a share of a value."""


def slow_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Query by query, in float64."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    for b, h, n in product(*map(range, q.shape[:3])):
        scores = [float(q[b, h, n].double() @ key.double()) for key in k[b, h]]
        chances = [math.exp((s - max(scores)) / math.sqrt(q.shape[-1])) for s in scores]
        for chance, value in zip(chances, v[b, h], strict=True):
            out[b, h, n] += chance / sum(chances) * value.double()
    return out


def projections(batch: int, tokens: int, heads: int, depth: int, scale: float = 1.0) -> Any:
    """q, k and v (batch, heads, tokens, depth) as views of one array, as timm makes them."""
    generator = torch.Generator().manual_seed(0)
    values = scale * torch.randn((batch, tokens, 3, heads, depth), generator=generator)
    return values.bfloat16().permute(2, 0, 3, 1, 4)


@tiled
class TestTiledAttention:
    @pytest.mark.parametrize("tokens", [1, 15, 16, 17, 31, 32, 33, 70])
    @pytest.mark.parametrize("depth", [8, 32, 64, 80])
    def test_is_the_mean_of_values_by_softmax(self, tokens: int, depth: int) -> None:
        q, k, v = projections(1, tokens, 2, depth, 2.0)
        found = bfloat16.tiled_attention(q, k, v)
        assert (found.shape, found.dtype) == (q.shape, torch.bfloat16)
        bound = 2 * STEP * float(v.abs().max())
        torch.testing.assert_close(found.double(), slow_attention(q, k, v), atol=bound, rtol=0)

    def test_is_as_exact_as_torchs(self) -> None:
        q, k, v = projections(2, 197, 3, 64, 3.0)
        exact = functional.scaled_dot_product_attention(q.float(), k.float(), v.float())
        torchs = functional.scaled_dot_product_attention(q, k, v)
        ours = bfloat16.tiled_attention(q, k, v)
        off, torchs_off = ((each - exact).square().mean() for each in (ours, torchs))
        assert off < 1.2 * torchs_off

    def test_large_scores_neither_overflow_nor_vanish(self) -> None:
        q, k, v = projections(1, 40, 1, 32, 100.0)
        found = bfloat16.tiled_attention(q, k, v)
        best = (q.float() @ k.float().transpose(-1, -2)).argmax(dim=-1)[0, 0]
        torch.testing.assert_close(found[0, 0], v[0, 0][best])

    def test_layout_and_threads_do_not_matter(self) -> None:
        q, k, v = projections(2, 37, 3, 32)
        expected = bfloat16.tiled_attention(q, k, v)
        before = torch.get_num_threads()
        torch.set_num_threads(4)
        again = bfloat16.tiled_attention(q.contiguous(), k.contiguous(), v.contiguous())
        torch.set_num_threads(before)
        assert torch.equal(again, expected)

    def test_replaces_torchs_within_the_mode_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        q, k, v = projections(1, 4, 1, 16)
        monkeypatch.setattr(bfloat16, "tiled_attention", lambda q, k, v: "ours")
        with TiledAttention():
            assert functional.scaled_dot_product_attention(q, k, v, dropout_p=0.0) == "ours"
            assert functional.scaled_dot_product_attention(q, k, v, is_causal=True) != "ours"
            assert functional.scaled_dot_product_attention(q, k, v, None, 0.0, True) != "ours"
            assert functional.scaled_dot_product_attention(query=q, key=k, value=v) != "ours"
        assert functional.scaled_dot_product_attention(q, k, v) != "ours"


class TestSuits:
    def test_plain_attention_in_bfloat16_does(self) -> None:
        q, k, v = projections(1, 4, 1, 16)
        assert bfloat16.suits(q, k, v, None, 0.0, is_causal=False, scale=None, enable_gqa=False)

    def test_other_attention_does_not(self) -> None:
        q, k, v = projections(1, 4, 2, 16)
        assert not bfloat16.suits(q.float(), k.float(), v.float())
        assert not bfloat16.suits(q, k[:, :, :3], v[:, :, :3])
        assert not bfloat16.suits(q, k, v, torch.ones(4, 4, dtype=torch.bool))
        assert not bfloat16.suits(q, k, v, dropout_p=0.1)
        assert not bfloat16.suits(q, k, v, is_causal=True)
        assert not bfloat16.suits(q, k, v, scale=0.5)
        assert not bfloat16.suits(q[0], k[0], v[0])
        turned = q.transpose(2, 3)
        assert not bfloat16.suits(turned, turned, turned)


@packed
class TestPackedLinear:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("gelu", [True, False])
    def test_computes_the_layer_and_what_follows(self, bias: bool, gelu: bool) -> None:
        linear = nn.Linear(24, 40, bias=bias).requires_grad_(False).to(torch.bfloat16)
        values = torch.randn(2, 5, 24).bfloat16()
        expected = values.double() @ linear.weight.double().T
        expected = expected + linear.bias.double() if bias else expected
        expected = functional.gelu(expected) if gelu else expected
        found = PackedLinear(linear, gelu)(values)
        assert found.shape == (2, 5, 40)
        torch.testing.assert_close(found.double(), expected, atol=STEP, rtol=2 * STEP)

    def test_every_linear_layer_of_a_model_becomes_one(self) -> None:
        model = bfloat16.to_bfloat16(
            bare_model("vit_tiny_patch16_224").requires_grad_(False), "cpu"
        )
        assert not [each for each in model.modules() if type(each) is nn.Linear]
        assert sum(isinstance(each, PackedLinear) for each in model.modules()) == 12 * 4
        assert not [each for each in model.modules() if isinstance(each, nn.GELU)]


def test_without_such_instructions_torch_computes_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bfloat16, "packs", lambda: False)
    monkeypatch.setattr(bfloat16, "_attention", None)  # as where nothing was compiled
    plain = freeze(bare_model("vit_tiny_patch16_224"), 1, "cpu", precision="bfloat16")
    assert not [each for each in plain.model.modules() if isinstance(each, PackedLinear)]
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    expected = freeze(bare_model("vit_tiny_patch16_224"), 1, "cpu").features(images)
    found = plain.features(images)
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    assert ((found * expected).sum(axis=-1) / norms).min() > 0.9995


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3",
        "vit_small_plus_patch16_dinov3", "vit_pico_patch8_conv_64",
    ],
)  # fmt: skip
def test_features_stay_nearly_the_same(name: str) -> None:
    """Learned and rotary positions, registers, gates, a stem of convolutions."""
    exact = freeze(bare_model(name), 1, "cpu")
    side = 4 * exact.patch
    images = np.random.default_rng(0).integers(0, 256, (2, side, 2 * side, 3), dtype=np.uint8)
    found = freeze(bare_model(name), 1, "cpu", precision="bfloat16").features(images)
    expected = exact.features(images)
    assert found.dtype == np.float32
    norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    assert ((found * expected).sum(axis=-1) / norms).min() > 0.9995
