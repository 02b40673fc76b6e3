"""Backbones that timm does not have, registered with it so that every stage builds them by name."""

import math
from itertools import pairwise
from typing import Any

from timm.layers import PatchEmbed
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn


class ConvStem(PatchEmbed):  # type: ignore[misc]  # timm is untyped
    """Patches through 4×4 convolutions of stride 2 instead of one projection of all pixels.

    Early convolutions help transformers see better (Xiao et al. 2021): they learn texture in
    far fewer steps, which is what a small budget has. Theirs are 3×3; an even side keeps a patch's
    field of view centred on the patch. All but the last are followed by instance normalisation
    (IBN-Net, Pan et al. 2018): light and contrast of a whole image go before the first block.
    """

    proj: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As timm's PatchEmbed; the patch side must be a power of two."""
        super().__init__(*arguments, **options)
        projection: nn.Conv2d = self.proj
        halvings = range(int(math.log2(projection.stride[0])))
        widths = [
            projection.in_channels,
            *(projection.out_channels >> later for later in reversed(halvings)),
        ]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 4, stride=2, padding=1),
                nn.InstanceNorm2d(after, affine=True),
                nn.GELU(),
            ]
        self.proj = nn.Sequential(*layers[:-2])


def vit_pico_patch8_conv_64(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """A ViT of a million parameters, patch 8, four blocks of 128 channels: 4 MB of weights."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        options.pop(name, None)
    shape = {"img_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}
    return VisionTransformer(**{**shape, "embed_layer": ConvStem, **options})


register_model(vit_pico_patch8_conv_64)
