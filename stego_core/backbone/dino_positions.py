"""Learned positions for images of other sizes, resampled as DINO's own code does it."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from stego_core.backbone import timm_library
from stego_core.errors import OptionError

OFFSET = 0.1
"""DINO and DINOv2 add this much of a patch to the size before they divide by the learned one."""


def dino_positions(learned: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions of a grid of patches from those of a learned one: bicubic, not antialiased.

    The scale is (rows + 0.1) / learned rows and likewise for columns, so that all places are off by
    up to a tenth of a patch (Caron et al. 2021, `interpolate_pos_encoding` of the released code).

    Args:
        learned: (h, w, C) floats.
        grid: rows and columns that are wanted.

    Returns:
        (rows, columns, C); `learned` itself where the grid is its own.
    """
    height, width, _ = learned.shape
    if grid == (height, width):
        return learned
    scale = [(wanted + OFFSET) / had for wanted, had in zip(grid, (height, width), strict=True)]
    planes = interpolate(learned.permute(2, 0, 1)[None], scale_factor=scale, mode="bicubic")
    return planes[0].permute(1, 2, 0)


def has_learned(model: nn.Module) -> bool:
    """Whether a timm vision transformer has learned positions, and does not compute them."""
    return isinstance(getattr(model, "pos_embed", None), Tensor)


def require_learned(model: nn.Module, name: str) -> None:
    """Check that a model has learned positions; raises an OptionError where it has not."""
    if not has_learned(model):
        raise OptionError(
            f"backbone {name!r} computes its positions for each size, and has none to resample; "
            "leave out --positions dino"
        )


def resample_as_dino(model: nn.Module) -> None:
    """Have a timm vision transformer with learned positions resample them as DINO does.

    timm adds its own positions behind the patches' embedding, so what differs is added in it.
    """
    layers = timm_library.timm().layers
    vit: Any = model  # nn.Module does not know timm's attributes
    size = vit.patch_embed.grid_size

    def corrected(_module: nn.Module, _inputs: Any, patches: Tensor) -> Tensor:
        _, rows, columns, channels = patches.shape
        learned = vit.pos_embed[:, -size[0] * size[1] :]  # the class token's come first
        timms = layers.resample_abs_pos_embed(learned, [rows, columns], size, num_prefix_tokens=0)
        own = dino_positions(learned.reshape(*size, channels), (rows, columns))
        differs: Tensor = own - timms.reshape(rows, columns, channels)
        return patches + differs

    vit.patch_embed.register_forward_hook(corrected)
