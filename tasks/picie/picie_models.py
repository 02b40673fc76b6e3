"""PiCIE's networks in a workspace: weights that training starts from, and trained ones."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stego_core.errors import WorkspaceError
from stego_core.picie import feature_pyramid
from stego_core.picie.feature_pyramid import FeaturePyramid, PyramidReader
from tasks.engine import machine
from tasks.features import backbones
from tasks.options import PicieOptions
from tasks.storage.storage import Storage
from tasks.workspace import keys, layout, tables
from tasks.workspace.layout import CENTROIDS_FILE, WEIGHTS_FILE
from tasks.workspace.ledger import Folder
from tasks.workspace.workspace import Workspace

FLAG = "--picie-weights"
"""Where people say which weights PiCIE starts from."""


@dataclass(frozen=True)
class NetworkSpec:
    """A ResNet that a workspace holds, from which training starts.

    Attributes:
        name: timm's name.
        digest: of the weights; names their folder.
        note: where the weights came from, for people.
    """

    name: str
    digest: str
    note: str

    def document(self) -> dict[str, Any]:
        """For manifests."""
        return asdict(self)


def fetch_network(workspace: Workspace, options: PicieOptions) -> NetworkSpec:
    """Fetch the ResNet that PiCIE starts from into the workspace, so that nobody needs it again.

    Raises:
        OptionError: timm has no such ResNet.
        WeightsError: the weights cannot be had or are not those of the network.
    """
    network, name = feature_pyramid.untrained(options.network, options.seed), options.network
    if options.weights == backbones.UNTRAINED:
        note = f"untrained, drawn from seed {options.seed}"
    elif options.weights is None:
        weights = backbones.weights_from_hub(name, FLAG)
        feature_pyramid.load_resnet(network, name, weights)
        note = f"timm's {name}, trained with ImageNet's labels"
    else:
        weights = backbones.weights_from_file(options.weights, FLAG)
        feature_pyramid.load_resnet(network, name, weights)
        note = Storage.at(options.weights).uri.rpartition("/")[2]
    tensors = arrays_of(network.backbone)
    content = [name.split(".")[0], backbones.digests(tensors)]
    digest = keys.digest(keys.canonical(content))
    folder = workspace.folder(layout.backbone(digest))
    if not folder.finished:
        tables.write_tensors(workspace.storage, f"{folder.path}/{WEIGHTS_FILE}", tensors)
        folder.finish({"backbone": name, "digest": digest, "note": note})
    return NetworkSpec(name, digest, note)


def arrays_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    """A network's parameters by their names."""
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def starting_network(storage: Storage, spec: NetworkSpec, seed: int) -> FeaturePyramid:
    """A new network: the ResNet as fetched, the pyramid's own weights drawn from `seed`."""
    network = feature_pyramid.untrained(spec.name, seed)
    _load(network.backbone, storage, f"{layout.backbone(spec.digest)}/{WEIGHTS_FILE}")
    return network


@lru_cache(maxsize=2)
def trained_reader(storage: Storage, key: str, device: str) -> PyramidReader:
    """A trained network as masks read it, built once per process."""
    name = Folder(storage, layout.picie(key)).manifest()["start"]["name"]
    network = feature_pyramid.untrained(name)
    _load(network, storage, f"{layout.picie(key)}/{WEIGHTS_FILE}")
    place = machine.device(device)
    return PyramidReader(network.eval().requires_grad_(False).to(place), place)


def centroids(storage: Storage, key: str) -> NDArray[np.float32]:
    """(K, DEPTH) float32 centroids of a trained PiCIE."""
    return tables.read_tensors(storage, f"{layout.picie(key)}/{CENTROIDS_FILE}")["centroids"]


def trained_start(workspace: Workspace, key: str) -> NetworkSpec:
    """The network that a trained PiCIE started from."""
    return NetworkSpec(**workspace.folder(layout.picie(key)).manifest()["start"])


def _load(module: nn.Module, storage: Storage, path: str) -> None:
    if not storage.exists(path):
        raise WorkspaceError(f"{storage.uri} lacks PiCIE's weights ({path}); run `stego run` again")
    stored = tables.read_tensors(storage, path)
    module.load_state_dict({n: torch.from_numpy(np.array(value)) for n, value in stored.items()})
