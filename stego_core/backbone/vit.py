"""Dense features from a frozen timm vision transformer."""

import difflib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.backbone import timm_library
from stego_core.backbone.bfloat16 import TiledAttention, has_tiles, to_bfloat16
from stego_core.backbone.parameter_names import timm_names
from stego_core.clustering.kmeans import unit
from stego_core.errors import OptionError, WeightsError

HEAD_PREFIXES = ("head.", "head_dist.", "fc_norm.", "dino_head.", "ibot_head.")
"""Parameters behind the features: of a classifier, or of self-distillation's projections."""
PLAIN = ["vision_transformer", "deit", "eva", "pico"]
"""Modules of timm's registry, and ours, whose models are plain vision transformers."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of RGB in [0, 1] that DINO and STEGO train with."""


@dataclass(frozen=True)
class Backbone:
    """A frozen vision transformer that turns images into patch features.

    Attributes:
        model: the timm model in eval mode, without gradients.
        layer: block whose output is read, 0-based.
        patch: patch side in pixels.
        channels: C, the features' depth.
        mean, std: (3,) normalisation of RGB in [0, 1].
        device: where it runs.
        precision: torch dtype of weights and activations, "float32" or "bfloat16"; products sum in
            float32.
    """

    model: nn.Module
    layer: int
    patch: int
    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: str
    precision: str = "float32"

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Patch features (B, H / patch, W / patch, C) float32 of images (B, H, W, 3) uint8 RGB.

        H and W are multiples of the patch side. Class and register tokens are dropped. The block's
        output goes through the model's final LayerNorm, as in STEGO.
        """
        owned = np.require(images, requirements=["C", "W"])  # torch warns of read-only memory
        batch = torch.from_numpy(owned).to(self.device)
        normal = (batch.float() / 255 - self._constant(self.mean)) / self._constant(self.std)
        vit: Any = self.model  # nn.Module does not know timm's methods
        with TiledAttention() if has_tiles() else nullcontext():
            (maps,) = vit.forward_intermediates(
                normal.permute(0, 3, 1, 2).to(getattr(torch, self.precision)),
                indices=[self.layer],
                norm=True,
                stop_early=True,
                intermediates_only=True,
                output_fmt="NCHW",
            )
        return np.asarray(maps.permute(0, 2, 3, 1).float().cpu())

    def _constant(self, values: tuple[float, float, float]) -> Tensor:
        return torch.tensor(values, device=self.device)


def known_backbones() -> list[str]:
    """Architectures that `bare_model` builds, but for the few that pool before their last norm.

    Any of them may be followed by a dot and the tag of timm's weights.
    """
    timm = timm_library.timm()
    return [*timm.list_models("vit_*", module=PLAIN), *timm.list_models("deit*", module=PLAIN)]


def bare_model(name: str, seed: int = 0) -> nn.Module:
    """A timm vision transformer without classifier, its initial weights from `seed`.

    Its position embeddings follow the size of each image: learned ones are resampled (bicubic,
    antialiased), rotary ones computed.

    Raises:
        OptionError: timm has no such model, or it is not a plain vision transformer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(name)


@lru_cache
def weight_bytes(name: str) -> int:
    """Bytes of a backbone's parameters in float32; none of them is allocated.

    Raises:
        OptionError: as `bare_model`.
    """
    with torch.device("meta"):
        model = _built(name)
    return sum(value.numel() * 4 for value in model.state_dict().values())


def _built(name: str) -> nn.Module:
    timm = timm_library.timm()
    architecture = name.split(".", 1)[0]
    if architecture not in timm.list_models():
        close = difflib.get_close_matches(architecture, known_backbones(), 4)
        raise OptionError(
            f"backbone {name!r} is not a timm model; expected a vision transformer such as "
            f"vit_small_patch16_224.dino{f' or {close}' if close else ''}"
        )
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=0, dynamic_img_size=True
        )
    except TypeError:  # only vision transformers have dynamic_img_size
        model = nn.Identity()
    except (RuntimeError, ValueError) as error:
        raise OptionError(f"backbone {name!r} cannot be built: {error}") from None
    plain = hasattr(model, "forward_intermediates") and hasattr(model, "blocks")
    if not (plain and isinstance(model.patch_embed, timm.layers.PatchEmbed)):
        raise OptionError(
            f"backbone {name!r} is not a plain vision transformer; choose a vit_* model such as "
            "vit_small_patch16_224.dino"
        )
    if isinstance(model.norm, nn.Identity):
        raise OptionError(
            f"backbone {name!r} has no final LayerNorm over patch tokens (it pools them first); "
            "choose a vit_* model without 'gap' in its name"
        )
    return model


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights that have all of the model's parameters.

    Names may be timm's or those of the published DINO, DINOv2 and DINOv3, with the prefixes of
    training scripts (`module.`, `backbone.`). Classifiers and projection heads are dropped.

    Raises:
        WeightsError: parameters are missing, unknown or have other shapes.
    """
    expected = model.state_dict()
    named = timm_names(weights, expected)

    def mismatch(what: str) -> WeightsError:
        return WeightsError(f"{what}; give weights of this very --backbone")

    if missing := sorted(set(expected) - set(named)):
        raise mismatch(
            f"the weights lack {len(missing)} of the backbone's {len(expected)} parameters "
            f"({', '.join(missing[:3])}, …)"
        )
    if unknown := sorted(n for n in set(named) - set(expected) if not n.startswith(HEAD_PREFIXES)):
        raise mismatch(
            f"the weights hold {len(unknown)} parameters that the backbone does not have "
            f"({', '.join(unknown[:3])}, …)"
        )
    for name, value in expected.items():
        if named[name].shape != value.shape:
            shapes = tuple(named[name].shape), tuple(value.shape)
            raise mismatch(
                f"weights {name} have shape {shapes[0]}, the backbone expects {shapes[1]}"
            )
    model.load_state_dict({name: named[name] for name in expected})


def freeze(
    model: nn.Module,
    layer: int | None,
    device: str,
    imagenet: bool = False,
    precision: str = "float32",
) -> Backbone:
    """A timm vision transformer as a frozen feature extractor.

    Args:
        layer: 0-based block to read; None reads the last.
        imagenet: normalise images as DINO does, whatever timm says of a model of this name.

    Raises:
        OptionError: the model has no such block.
    """
    vit: Any = model  # nn.Module does not know timm's attributes
    depth = len(vit.blocks)
    index = depth - 1 if layer is None else layer
    if not 0 <= index < depth:
        raise OptionError(
            f"--layer {index} is not a block of this backbone: it has 0 to {depth - 1}"
        )
    config = timm_library.timm().data.resolve_model_data_config(model)
    height, width = vit.patch_embed.patch_size
    if height != width:
        raise OptionError(f"patches of {height}×{width} are not square; choose another backbone")
    frozen, half = model.eval().requires_grad_(False), precision == "bfloat16"
    return Backbone(
        model=to_bfloat16(frozen, device) if half else frozen.to(device),
        layer=index,
        patch=int(height),
        channels=int(vit.num_features),
        mean=IMAGENET_MEAN if imagenet else config["mean"],
        std=IMAGENET_STD if imagenet else config["std"],
        device=device,
        precision=precision,
    )


def pooled(patches: NDArray[np.floating]) -> NDArray[np.float32]:
    """Image vectors (N, C) float32: the mean over patches (N, h, w, C), scaled to norm 1.

    A mean of zeros stays zero.
    """
    return np.asarray(unit(patches.astype(np.float32).mean(axis=(1, 2))), np.float32)
