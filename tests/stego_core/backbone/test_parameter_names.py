"""Parameters as DINO, DINOv2 and DINOv3 publish them, one by one."""

import pytest
import torch
from torch import Tensor

from stego_core.backbone.parameter_names import timm_names
from stego_core.errors import WeightsError


def values(*names: str) -> dict[str, Tensor]:
    """A number of its own for each name."""
    return {name: torch.tensor([float(number)]) for number, name in enumerate(names)}


def test_timms_own_names_stay() -> None:
    weights = values("cls_token", "blocks.0.attn.qkv.bias", "blocks.11.mlp.fc1.weight")
    assert timm_names(weights, weights) == weights


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
def test_prefixes_go(prefix: str) -> None:
    assert list(timm_names(values(f"{prefix}norm.weight"), [])) == ["norm.weight"]


def test_a_parameter_under_two_names_is_refused() -> None:
    weights = values("norm.weight", "module.norm.weight", "backbone.norm.weight", "norm.bias")
    with pytest.raises(WeightsError, match=r"hold 2 parameters twice.*module\. and backbone\."):
        timm_names(weights, [])


class TestDinoV2:
    def test_blocks_in_chunks_are_counted_through(self) -> None:
        weights = values("mask_token", "blocks.1.7.norm1.bias", "blocks.0.3.ls1.gamma")
        assert list(timm_names(weights, [])) == ["blocks.7.norm1.bias", "blocks.3.ls1.gamma"]

    def test_swiglu_is_fc1_and_fc2(self) -> None:
        weights = values("mask_token", "blocks.0.mlp.w12.weight", "blocks.0.mlp.w3.bias")
        assert list(timm_names(weights, [])) == ["blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.bias"]

    def test_the_class_tokens_position_goes_into_the_token_beside_registers(self) -> None:
        weights = {
            "register_tokens": torch.ones(1, 4, 2),
            "cls_token": torch.full((1, 1, 2), 3.0),
            "pos_embed": torch.arange(6.0).reshape(1, 3, 2),
        }
        named = timm_names(weights, [])
        assert set(named) == {"reg_token", "cls_token", "pos_embed"}
        assert named["cls_token"].tolist() == [[[3, 4]]]
        assert named["pos_embed"].tolist() == [[[2, 3], [4, 5]]]

    def test_without_registers_positions_stay(self) -> None:
        weights = values("mask_token", "cls_token", "pos_embed")
        assert timm_names(weights, [])["pos_embed"] is weights["pos_embed"]


class TestDinoV3:
    BIAS = "blocks.0.attn.qkv.bias"
    PARTS = tuple(f"blocks.0.attn.{part}_bias" for part in "qkv")

    def named(self, own: tuple[str, ...], **biases: Tensor) -> dict[str, Tensor]:
        weights = {"storage_tokens": torch.ones(1, 4, 2)}
        weights |= {f"{self.BIAS}{ending}": value for ending, value in biases.items()}
        return timm_names(weights, own)

    def test_layers_of_both_kinds(self) -> None:
        weights = values(
            "storage_tokens", "blocks.1.ls1.gamma", "blocks.1.ls2.gamma", "blocks.1.mlp.w1.bias",
            "blocks.1.mlp.w2.bias", "blocks.1.mlp.w3.bias", "blocks.1.mlp.fc1.bias",
        )  # fmt: skip
        assert list(timm_names(weights, [])) == [
            "reg_token", "blocks.1.gamma_1", "blocks.1.gamma_2", "blocks.1.mlp.fc1_g.bias",
            "blocks.1.mlp.fc1_x.bias", "blocks.1.mlp.fc2.bias", "blocks.1.mlp.fc1.bias",
        ]  # fmt: skip

    def test_what_training_alone_needs_goes(self) -> None:
        weights = values(
            "storage_tokens", "mask_token", "rope_embed.periods", "local_cls_norm.weight",
            "local_cls_norm.bias", "blocks.0.attn.qkv.bias_mask",
        )  # fmt: skip
        assert list(timm_names(weights, [])) == ["reg_token"]

    def test_a_bias_is_split_and_its_masked_part_dropped(self) -> None:
        mask = torch.tensor([1.0, 1, 0, 0, 1, 1])
        own = (self.PARTS[0], self.PARTS[2])
        named = self.named(own, **{"": torch.arange(1.0, 7), "_mask": mask})
        assert {name: named[name].tolist() for name in own} == {own[0]: [1, 2], own[1]: [5, 6]}
        assert self.PARTS[1] not in named

    def test_zeros_are_dropped_where_the_backbone_has_no_bias(self) -> None:
        assert list(self.named((), **{"": torch.zeros(6)})) == ["reg_token"]

    def test_a_bias_that_would_be_lost_is_refused(self) -> None:
        with pytest.raises(WeightsError, match=r"0\.attn\.k_bias are not zero.*_dinov3_qkvb"):
            self.named((self.PARTS[0], self.PARTS[2]), **{"": torch.ones(6)})
