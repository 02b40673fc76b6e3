"""Backbones: weights are fetched once and kept in the workspace; workers build them once each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import huggingface_hub
import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.backbone import dino_positions, timm_library, vit
from stego_core.errors import OptionError, WeightsError
from tasks.engine import machine
from tasks.features import checkpoint_file, hub
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.layout import WEIGHTS_FILE
from tasks.workspace.workspace import Workspace

UNTRAINED = "untrained"
"""The value of `--weights` for random weights."""
BUNDLED = "bundled"
"""The value of `--weights` for those that come with this package."""
BUNDLED_BACKBONE = "vit_pico_patch8_conv_64"
"""timm's name of the backbone that comes with this package."""
BUNDLED_FILE = "scenes.safetensors"
"""The file of its weights, in the folder `weights`."""
LOADING = 3
"""A backbone takes this many times its weights while it is loaded: stored, as tensors, built."""
DINO_CODE = "dino"
"""The value of `--positions` for those of DINO's code."""
NESTS = ("state_dict", "model", "teacher", "student")
"""Entries under which checkpoints keep their parameters."""
HUB_FILE = "model.safetensors"
"""The file of a model's weights in its repository at the hub."""


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone that a workspace holds; small, and enough to build it anywhere.

    Attributes:
        name: timm's name.
        layer: 0-based block that is read.
        digest: of the weights; names their folder.
        patch: patch side, pixels.
        note: where the weights came from, for people.
        imagenet: whether images are normalised as DINO does, whatever timm says of the name.
        precision: of its products, "float32" or "bfloat16".
        positions: whose code learned positions are resampled like, "timm" or "dino".
    """

    name: str
    layer: int
    digest: str
    patch: int
    channels: int
    note: str
    imagenet: bool = False
    precision: str = "float32"
    positions: str = "timm"

    def document(self) -> dict[str, Any]:
        """For manifests."""
        return asdict(self)


def fetch_backbone(
    workspace: Workspace,
    name: str,
    weights: str,
    layer: int | None = None,
    seed: int = 0,
    positions: str = "timm",
) -> BackboneSpec:
    """Fetch a backbone's weights into the workspace, so that nobody needs them again.

    Args:
        name: timm's name.
        weights: a file, `UNTRAINED`, `BUNDLED` or `hub.TIMM`.
        layer: 0-based block that is read; None reads the last.
        seed: of untrained weights.
        positions: as in the BackboneSpec.

    Raises:
        OptionError: the backbone or the layer does not exist, or it has no learned positions.
        WeightsError: the weights cannot be had or do not fit.
        CapacityError: the backbone does not fit this machine's memory.
    """
    machine.require_free(f"backbone {name}", LOADING * vit.weight_bytes(name))
    model = vit.bare_model(name, seed)
    if positions == DINO_CODE:
        dino_positions.require_learned(model, name)
    if weights == UNTRAINED:
        note = f"untrained, drawn from seed {seed}"
    elif weights == hub.TIMM:
        vit.load_weights(model, weights_from_hub(name))
        note = f"timm's {name}"
    elif weights == BUNDLED:
        vit.load_weights(model, bundled_weights())
        note = "bundled, trained on generated scenes"
    else:
        vit.load_weights(model, weights_from_file(weights))
        note = Storage.at(weights).uri.rpartition("/")[2]
    imagenet = asks_imagenet(name, weights)
    return store_backbone(workspace, name, model, note, layer, imagenet, positions)


def asks_imagenet(name: str, weights: str) -> bool:
    """Whether images are normalised as DINO does, as a file of its name asks.

    timm's names without a tag mean weights of another origin, and their normalisation; a name with
    a tag says itself how images are normalised.
    """
    file = weights.rpartition("/")[2].lower()
    return "." not in name and "dino" in file and weights not in (UNTRAINED, BUNDLED, hub.TIMM)


def store_backbone(
    workspace: Workspace,
    name: str,
    model: nn.Module,
    note: str,
    layer: int | None = None,
    imagenet: bool = False,
    positions: str = "timm",
) -> BackboneSpec:
    """Store a backbone's weights in the workspace, under their digest.

    Args:
        model: built by its name, with its weights.
        name, note, layer, imagenet, positions: as in the BackboneSpec; None reads the last layer.

    Raises:
        OptionError: there is no such layer.
    """
    frozen = vit.freeze(model, layer, "cpu")
    differs = imagenet and (frozen.mean, frozen.std) != (vit.IMAGENET_MEAN, vit.IMAGENET_STD)
    tensors = {key: value.numpy() for key, value in model.state_dict().items()}
    content = [name.split(".")[0], digests(tensors), *(["imagenet"] if differs else [])]
    content += ["positions of DINO"] if positions == DINO_CODE else []
    digest = keys.digest(keys.canonical(content))
    sizes = frozen.layer, digest, frozen.patch, frozen.channels
    spec = BackboneSpec(name, *sizes, note, differs, positions=positions)
    folder = workspace.folder(layout.backbone(digest))
    if not folder.finished:
        tables.write_tensors(workspace.storage, f"{folder.path}/{WEIGHTS_FILE}", tensors)
        folder.finish({"backbone": spec.name, "digest": digest, "note": note})
    return spec


def digests(tensors: Mapping[str, NDArray[Any]]) -> list[list[str]]:
    """Name and digest of each array, in order of the names: for keys."""
    return [
        [name, keys.digest(np.ascontiguousarray(tensors[name]).tobytes())]
        for name in sorted(tensors)
    ]


def weights_from_hub(name: str, flag: str = "--weights") -> dict[str, Tensor]:
    """timm's own weights of a model, from the local cache or the hub; `flag` is where a file goes.

    Raises:
        WeightsError: timm has none, or the hub cannot be reached within seconds.
    """
    config = timm_library.timm().get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm offers no weights for {name}; give a file with {flag}")
    cached = isinstance(huggingface_hub.try_to_load_from_cache(config.hf_hub_id, HUB_FILE), str)
    if not cached:
        hub.require(name, flag)
    try:
        path = huggingface_hub.hf_hub_download(config.hf_hub_id, HUB_FILE, local_files_only=cached)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the weights of {name} cannot be downloaded ({type(error).__name__}); give a "
            f"file with {flag}"
        ) from None
    return dict(safetensors.torch.load_file(path))


def bundled_weights() -> dict[str, Tensor]:
    """Parameters of the backbone that comes with this package."""
    content = resources.files("tasks.features").joinpath("weights", BUNDLED_FILE).read_bytes()
    return {name: value.float() for name, value in safetensors.torch.load(content).items()}


def weights_from_file(location: str, flag: str = "--weights") -> dict[str, Tensor]:
    """Parameters of a .pth or .safetensors file, given with `flag`; nothing in it is executed.

    Raises:
        WeightsError: it cannot be read as tensors.
    """
    name, content = read_whole(location, f"{flag} {location}")
    try:
        if name.endswith(".safetensors"):
            return dict(safetensors.torch.load(content))
        stored = checkpoint_file.load(content)
    except Exception as error:  # safetensors raises whatever the bytes lead it to
        raise WeightsError(
            f"{flag} {location} does not hold plain tensors ({error}); expected .safetensors or "
            "a .pth state dict"
        ) from None
    for nest in NESTS:
        if isinstance(stored, dict) and isinstance(stored.get(nest), dict):
            stored = stored[nest]
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise WeightsError(f"{flag} {location} is not a state dict of named tensors")
    return stored


def backbone_memory(spec: BackboneSpec, tokens: int, beside: int = 0) -> int:
    """Bytes that a process holds at once that loads a backbone, then works with it.

    A pass of 2,000 to 13,000 tokens was measured to hold 6 to 28 floats for each token and channel
    (ViT-S/8, S/14, B/14; S+/16, with rotary positions and gates, the most), copies of the pixels
    left out; this predicts 28.

    Args:
        tokens: patches that go through it in one pass.
        beside: bytes that are held before or after a pass.
    """
    weights = vit.weight_bytes(spec.name)
    activations = 4 * tokens * (28 * spec.channels + 4 * 3 * spec.patch**2)
    return max(LOADING * weights, weights + max(activations, beside))


def read_whole(location: str, title: str) -> tuple[str, bytes]:
    """Name, without its folder, and bytes of a file of the user's.

    Raises:
        WeightsError: it cannot be read; the message begins with `title`.
    """
    folder, _, name = Storage.at(location).uri.rpartition("/")
    try:
        return name, Storage(folder or "/").read(name)
    except OSError as error:
        raise WeightsError(f"{title} cannot be read: {error}") from None


@lru_cache(maxsize=2)
def load_backbone(storage: Storage, spec: BackboneSpec, device: str) -> vit.Backbone:
    """The backbone, built once per process.

    Raises:
        OptionError: the workspace lacks its weights.
    """
    model = stored_model(storage, spec)
    if spec.positions == DINO_CODE:
        dino_positions.resample_as_dino(model)
    return vit.freeze(model, spec.layer, machine.device(device), spec.imagenet, spec.precision)


def stored_model(storage: Storage, spec: BackboneSpec) -> nn.Module:
    """A new model with the backbone's weights; raises as `load_backbone`."""
    path = f"{layout.backbone(spec.digest)}/{WEIGHTS_FILE}"
    if not storage.exists(path):
        raise OptionError(f"{storage.uri} lacks the backbone's weights ({path}); run `stego run`")
    model = vit.bare_model(spec.name)
    weights = tables.read_tensors(storage, path)
    vit.load_weights(model, {name: torch.from_numpy(value) for name, value in weights.items()})
    return model
