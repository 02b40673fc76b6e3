"""Parameters under timm's names, whatever names a backbone's weights were published with.

DINO's are timm's. DINOv2 and DINOv3 have their own (facebookresearch/dinov2 and dinov3,
`models/vision_transformer.py`). timm's checkpoint filters translate them too, and tests compare
with those; but they also resample patches and positions of another size and drop unknown names,
where this project has to refuse the weights.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from stego_core.errors import WeightsError

SCRIPT_PREFIXES = ("module.", "backbone.")
"""Prefixes that training scripts put before a backbone's names."""
CHUNK = re.compile(r"^blocks\.\d+\.(?=\d+\.)")
"""DINOv2 and DINOv3 may keep blocks in chunks: blocks.CHUNK.BLOCK., blocks counted through."""
UNUSED = re.compile(
    r"mask_token"  # stands for patches hidden in training
    r"|rope_embed\.periods"  # fixed, and computed anew
    r"|blocks\.\d+\.attn\.qkv\.bias_mask"  # applied to the bias
    r"|local_cls_norm\.(weight|bias)"  # of training's local views
)
DINOV3_NAMES = (
    ("storage_tokens", "reg_token"),
    (".ls1.gamma", ".gamma_1"),
    (".ls2.gamma", ".gamma_2"),
    (".mlp.w1.", ".mlp.fc1_g."),
    (".mlp.w2.", ".mlp.fc1_x."),
    (".mlp.w3.", ".mlp.fc2."),
)
QKV_BIAS = re.compile(r"(blocks\.\d+\.attn\.)qkv\.bias")


def timm_names(weights: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """The same parameters under timm's names; what only training needs is left out.

    So are DINOv3's biases that are zero and not among the backbone's `own` names.

    Raises:
        WeightsError: two parameters have the same name, or biases would be lost.
    """
    bare = {_bare_name(name): value for name, value in weights.items()}
    if len(bare) < len(weights):
        raise WeightsError(
            f"the weights hold {len(weights) - len(bare)} parameters twice, under names with and "
            f"without the prefixes {' and '.join(SCRIPT_PREFIXES)}; give those of one model"
        )
    if "storage_tokens" in bare:
        return _dinov3(bare, own)
    if "mask_token" in bare or "register_tokens" in bare:
        return _dinov2(bare)
    return bare


def _bare_name(name: str) -> str:
    for prefix in SCRIPT_PREFIXES:
        name = name.removeprefix(prefix)
    return CHUNK.sub("blocks.", name)


def _dinov2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's names; with registers, timm keeps the class token's position in the token."""
    named = {
        name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2."): value
        for name, value in weights.items()
        if not UNUSED.fullmatch(name)
    }
    if {"register_tokens", "cls_token", "pos_embed"} <= set(named):
        named["reg_token"] = named.pop("register_tokens")
        named["cls_token"] = named["cls_token"] + named["pos_embed"][:, :1]
        named["pos_embed"] = named["pos_embed"][:, 1:]
    return named


def _dinov3(weights: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """DINOv3's names; a mask keeps the bias of keys at zero, and timm has none."""
    named: dict[str, Tensor] = {}
    for name, value in weights.items():
        if UNUSED.fullmatch(name):
            continue
        if attention := QKV_BIAS.fullmatch(name):
            mask = weights.get(f"{name}_mask")
            named |= _split_bias(attention[1], value if mask is None else value * mask, own)
        else:
            for published, timms in DINOV3_NAMES:
                name = name.replace(published, timms)
            named[name] = value
    return named


def _split_bias(attention: str, bias: Tensor, own: Collection[str]) -> dict[str, Tensor]:
    """Biases of queries and values; zeros are left out of a backbone that has none.

    Raises:
        WeightsError: the backbone has no place for a bias that is not zero.
    """
    named = {
        f"{attention}{part}_bias": value for part, value in zip("qkv", bias.chunk(3), strict=True)
    }
    lost = [name for name, part in named.items() if name not in own and part.any()]
    if lost:
        raise WeightsError(
            f"the weights' {', '.join(lost)} are not zero, and the backbone has no such bias; for "
            "one of queries and values, choose a --backbone whose name ends in _dinov3_qkvb"
        )
    return {name: part for name, part in named.items() if name in own}
