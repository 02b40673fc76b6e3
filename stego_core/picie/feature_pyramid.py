"""PiCIE's network: a ResNet of timm and a feature pyramid, one map at stride 4."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.backbone import timm_library
from stego_core.backbone.vit import IMAGENET_MEAN, IMAGENET_STD
from stego_core.errors import OptionError, WeightsError
from stego_core.picie.picie_views import STRIDE

DEPTH = 128
"""Channels of the feature map."""
LEVELS = (1, 2, 3, 4)
"""timm's numbers of res2 to res5, whose strides are 4 to 32."""
CLASSIFIER = "fc."
"""How the names of a ResNet's classifier begin."""
PREFIXES = ("module.", "backbone.")
"""What training scripts put before a parameter's name."""
COUNTER = "num_batches_tracked"
"""How a name ends that weights may lack: batches that a normalisation has seen."""


class FeaturePyramid(nn.Module):
    """res2 … res5, each projected by a 1×1 convolution, summed from the coarsest to the finest."""

    def __init__(self, name: str) -> None:
        """Untrained, from torch's generator; OptionError where timm's `name` is no ResNet."""
        super().__init__()
        self.backbone = _resnet(name)
        channels = self.backbone.feature_info.channels()  # type: ignore[union-attr, operator]
        self.laterals = nn.ModuleList(nn.Conv2d(depth, DEPTH, 1) for depth in channels)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (B, DEPTH, H / 4, W / 4) of images (B, 3, H, W) RGB in [0, 1]; not normalised."""
        mean, std = (
            torch.tensor(values, dtype=images.dtype, device=images.device)[:, None, None]
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        levels = self.backbone((images - mean) / std)
        *finer, coarsest = (
            lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)
        )
        summed: Tensor = coarsest
        for level in reversed(finer):
            size = level.shape[-2:]
            larger = nnf.interpolate(summed, size, mode="bilinear", align_corners=False)
            summed = level + larger
        return summed


def _resnet(name: str) -> nn.Module:
    timm = timm_library.timm()
    resnets = timm.list_models("resnet*", module="resnet")
    if name.split(".", 1)[0] not in resnets:
        raise OptionError(
            f"PiCIE's network {name!r} is not a ResNet of timm; expected one such as "
            "resnet18.tv_in1k or resnet50"
        )
    model: nn.Module = timm.create_model(
        name, pretrained=False, features_only=True, out_indices=LEVELS
    )
    return model


def untrained(name: str, seed: int = 0) -> FeaturePyramid:
    """A network whose weights are drawn from `seed`; OptionError as `FeaturePyramid`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FeaturePyramid(name)


def load_resnet(network: FeaturePyramid, name: str, weights: Mapping[str, Tensor]) -> None:
    """Give a network's ResNet weights that have all of its parameters; the pyramid has its own.

    The classifier is dropped.

    Raises:
        WeightsError: parameters are missing, unknown or have other shapes.
    """
    expected = network.backbone.state_dict()
    named = {_bare(key): value for key, value in weights.items()}
    named = {key: value for key, value in named.items() if not key.startswith(CLASSIFIER)}
    needed = {key for key in expected if not key.endswith(COUNTER)}
    others = sorted(needed ^ {key for key in named if not key.endswith(COUNTER)})
    shapes = [key for key in needed & named.keys() if named[key].shape != expected[key].shape]
    if others or shapes:
        what = "do not both have" if others else "have in other shapes"
        differing = others or sorted(shapes)
        raise WeightsError(
            f"the weights are not those of {name}: they and the network {what} "
            f"{len(differing)} parameters ({', '.join(differing[:3])}, …); give weights of this "
            "very --picie-network"
        )
    network.backbone.load_state_dict({**expected, **{key: named[key] for key in needed}})


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def unit_maps(maps: Tensor) -> Tensor:
    """Maps (B, D, h, w) with the vector of every cell scaled to norm 1."""
    return nnf.normalize(maps, dim=1)


@dataclass(frozen=True)
class PyramidReader:
    """A trained network as masks read it; in eval mode, on a device.

    Attributes:
        patch: pixels of a cell's side.
    """

    network: FeaturePyramid
    device: str
    patch: int = STRIDE

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit vectors (B, H / 4, W / 4, DEPTH) float32 of images (B, H, W, 3) uint8 RGB."""
        batch = torch.from_numpy(images.copy()).to(self.device)
        maps: Any = unit_maps(self.network(batch.permute(0, 3, 1, 2).float() / 255))
        return np.asarray(maps.permute(0, 2, 3, 1).cpu())
