"""Heads: read from the workspace, built once per process."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from stego_core.clustering.silhouette import FEATURES
from stego_core.head import mean_shift
from stego_core.head.head import BesideFeatures, Head, MeanShiftHead
from tasks.engine import machine
from tasks.storage.storage import Storage
from tasks.workspace import layout, tables
from tasks.workspace.ledger import Folder

IDENTITY = "identity"
"""Key of the baseline's head: codes are the raw features."""
CODES = "codes"
"""The space of clusters of codes."""
BESIDE = "codes beside features"
"""The space of clusters of codes beside features (`BesideFeatures`)."""


def are_stego_masks(manifest: Mapping[str, Any]) -> bool:
    """Whether masks of this manifest come from a head; else they are those of a baseline."""
    return bool(manifest["inputs"].get("head", IDENTITY) != IDENTITY)


@lru_cache(maxsize=4)
def load_head(storage: Storage, key: str, device: str) -> nn.Module:
    """A trained head in eval mode, or the identity, built once per process."""
    if key == IDENTITY:
        return nn.Identity()
    tensors = tables.read_tensors(storage, f"{layout.head(key)}/{layout.HEAD_FILE}")
    code_size, channels = tensors["linear.weight"].shape
    with torch.random.fork_rng(devices=[]):
        built = Head(channels, code_size)
    built.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    options = Folder(storage, layout.head(key)).manifest().get("options", {})  # none if imported
    whole = MeanShiftHead(built) if options.get("recipe") == mean_shift.RECIPE else built
    return whole.eval().requires_grad_(False).to(machine.device(device))


def load_space(storage: Storage, key: str, space: str, device: str) -> nn.Module:
    """The module that makes the vectors of a space that clusters lie in, from features."""
    if space == FEATURES:
        return nn.Identity()
    head = load_head(storage, key, device)
    return BesideFeatures(head) if space == BESIDE else head
