"""Vision transformers in bfloat16: weights and activations, while products sum in float32.

On a CPU that multiplies bfloat16 the layers are rearranged as its instructions read them: ViT-S/16
at 224 then embeds 1.6 times as many images a second as under torch's autocast, which rounds all
weights anew for each batch and leaves sums between the layers in float32
(docs/notes/performance.md).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

try:
    from stego_core.backbone import _attention
except ImportError:  # built without a compiler
    if not TYPE_CHECKING:
        _attention = None

ROWS = 1576
"""Tokens of a batch for which weights are laid out: eight images of 197. Others fit, too."""


class PackedLinear(nn.Module):
    """A linear layer whose weights lie in oneDNN's order, with what follows it in the same pass."""

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        """Lay out the weights of a bfloat16 layer on the CPU; `gelu` applies the exact GELU."""
        super().__init__()
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(linear.weight, ROWS))
        self.register_buffer("bias", linear.bias)
        self.after: tuple[str, list[Any], str] = ("gelu", [], "none") if gelu else ("none", [], "")

    def forward(self, values: Tensor) -> Tensor:
        """(..., out) of (..., in), both bfloat16."""
        linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
        return linear(values, self.weight, self.bias, *self.after)


class TiledAttention(TorchFunctionMode):
    """Inside it, plain attention in bfloat16 on the CPU is computed by our own kernel."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Torch's own, but for attention that `suits`."""
        given = kwargs or {}
        if func is scaled_dot_product_attention and len(args) >= 3 and suits(*args, **given):
            return tiled_attention(*args[:3])
        return func(*args, **given)


def suits(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> bool:  # fmt: skip
    """Whether `tiled_attention` computes torch's attention of these arguments."""
    plain = attn_mask is None and dropout_p == 0 and scale is None and not (is_causal or enable_gqa)
    alike = q.ndim == 4 and q.shape == k.shape == v.shape
    return plain and alike and all(
        part.dtype == torch.bfloat16 and part.device.type == "cpu" and part.stride(-1) == 1
        for part in (q, k, v)
    )  # fmt: skip


def has_tiles() -> bool:
    """Whether this processor multiplies bfloat16 in tiles (AMX), and the kernel was compiled."""
    return _attention is not None and bool(_attention.available())


def tiled_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention softmax(q kᵀ / √depth) v, on as many threads as torch uses.

    Args:
        q, k, v: (batch, heads, tokens, depth) bfloat16 on the CPU, channels side by side.

    Returns:
        (batch, heads, tokens, depth) bfloat16.

    Raises:
        ValueError: the processor lacks the instructions (`has_tiles`).
    """
    batch, heads, tokens, depth = q.shape
    out = torch.empty((batch, tokens, heads, depth), dtype=q.dtype)
    _attention.attention(
        [part.data_ptr() for part in (q, k, v)],
        [part.stride()[:3] for part in (q, k, v)],
        out.data_ptr(),
        tuple(q.shape),
        depth**-0.5,
        min(torch.get_num_threads(), batch * heads),
    )
    return out.transpose(1, 2)


def to_bfloat16(model: nn.Module, device: str) -> nn.Module:
    """A frozen timm vision transformer with weights in bfloat16 on a device.

    The model itself is changed. On a CPU whose oneDNN computes in bfloat16 its linear layers become
    `PackedLinear`.
    """
    model = model.to(device, torch.bfloat16)
    if torch.device(device).type == "cpu" and packs():
        pack_linear_layers(model)
    return model


def packs() -> bool:
    """Whether this installation of torch lays out weights in bfloat16, on this processor."""
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_linear_layers(model: nn.Module) -> None:
    """Replace the linear layers of a bfloat16 model; those before an exact GELU compute it, too."""
    from timm.layers import Mlp  # timm takes seconds to import

    for module in list(model.modules()):
        if isinstance(module, Mlp) and isinstance(module.fc1, nn.Linear) and exact_gelu(module.act):
            module.fc1, module.act = PackedLinear(module.fc1, gelu=True), nn.Identity()
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child))


def exact_gelu(activation: nn.Module) -> bool:
    """Whether an activation is the GELU itself, not its approximation."""
    return isinstance(activation, nn.GELU) and activation.approximate == "none"
