"""Published checkpoints: a `.ckpt` of STEGO becomes a workspace's backbone, head and clusters."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.backbone import vit
from stego_core.errors import OptionError, WeightsError
from stego_core.labels.taxonomy import Taxonomy
from stego_core.paper import released_parts
from stego_core.paper.released_parts import ReleasedModel
from tasks.features import backbones, checkpoint_file
from tasks.features.backbones import BackboneSpec
from tasks.labels.taxonomies import load_taxonomy
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

VERSION = 1
FEATURES = ("feat", None)
"""Values of STEGO's `dino_feat_type` that mean the last block's output; None where it is absent."""


class Checkpoint(NamedTuple):
    """A checkpoint in memory.

    Attributes:
        source: the file's name and digest, for manifests.
        parts: its parameters.
        backbone: timm's name of its transformer.
        names: of its clusters; None without a taxonomy.
        taxonomy: of the linear probe's classes; None where it is not known.
    """

    source: dict[str, str]
    parts: ReleasedModel
    backbone: str
    names: list[str] | None
    taxonomy: Taxonomy | None


class Imported(NamedTuple):
    """The workspace's copy of a checkpoint.

    Attributes:
        keys: of the head and the clusters.
        code_size: length of a code.
        classes: number of clusters.
        probed: classes of the linear probe; None without one.
    """

    keys: dict[str, str]
    backbone: BackboneSpec
    code_size: int
    classes: int
    probed: int | None


def read(location: str, backbone: str | None = None, taxonomy: str | None = None) -> Checkpoint:
    """A checkpoint's parameters; nothing in the file is executed.

    The file, and the taxonomy of the linear probe's classes, are given as paths or URIs. `backbone`
    is timm's name of the transformer; None finds it by the shapes.

    Raises:
        WeightsError: it is no STEGO checkpoint, is damaged, or names types that none needs.
        OptionError: the taxonomy does not fit the checkpoint.
    """
    name, content = backbones.read_whole(location, location)
    try:
        state = parameters(checkpoint_file.load(content), len(content))
        parts = released_parts.released_model(state)
        known = backbone or released_parts.architecture(parts.backbone)
    except WeightsError as error:
        raise WeightsError(f"{name} cannot be imported: {error}; nothing in it was run") from None
    if known is None:
        raise WeightsError(
            f"{name} holds no transformer of DINO's sizes (small or base, patch 8 or 16, "
            f"{released_parts.DINO_DEPTH} blocks); name timm's with --backbone"
        )
    source = {"file": name, "digest": keys.digest(content)}
    classes = load_taxonomy(taxonomy)
    return Checkpoint(source, parts, known, _names(name, parts, classes), classes)


def _names(name: str, parts: ReleasedModel, taxonomy: Taxonomy | None) -> list[str] | None:
    if taxonomy is None:
        return None
    if parts.probe is None:
        raise OptionError(
            f"--taxonomy names the classes of a linear probe, and {name} has none; leave it out"
        )
    if len(taxonomy.classes) != len(parts.probe.weight):
        raise OptionError(
            f"--taxonomy has {len(taxonomy.classes)} classes, the linear probe of {name} "
            f"{len(parts.probe.weight)}; give the taxonomy that it was trained with"
        )
    return released_parts.names(parts.centroids, parts.probe, taxonomy.classes)


def parameters(document: Any, size: int) -> dict[str, NDArray[np.float32]]:
    """The needed parameters of a Lightning checkpoint's state dict, or of a bare one.

    `document` is the content of the file, which has `size` bytes.

    Raises:
        WeightsError: there are none, or they say that other features were used.
    """
    state = dict.get(document, "state_dict", document) if isinstance(document, dict) else None
    if not isinstance(state, dict):
        raise WeightsError("it holds no state_dict")
    feature = setting(document, "dino_feat_type")
    if feature not in FEATURES:
        raise WeightsError(f"its codes are made of {feature!a}, not of the last block's output")
    tensors = {
        name: value
        for name, value in dict.items(state)
        if isinstance(name, str) and released_parts.needed_parameters(name)
    }
    others = [name for name, value in tensors.items() if not checkpoint_file.is_plain(value)]
    if others:
        raise WeightsError(f"its {others[0]} is no plain tensor")
    if sum(value.numel() for value in tensors.values()) > size:  # views of one storage
        raise WeightsError("its tensors are larger than the file")
    return {name: value.detach().float().contiguous().numpy() for name, value in tensors.items()}


def setting(document: Any, name: str) -> Any:
    """A plain value by its name, anywhere in a document; None if it is nowhere.

    Configuration objects keep their entries in their attributes, and each value in a node's `_val`.
    """
    pending: list[Any] = [document]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue  # a pickle's values may hold themselves
        seen.add(id(value))
        if isinstance(value, OrderedDict):
            pending.append(vars(value))
        if isinstance(value, dict):
            if name in value:
                return _plain(value[name])
            pending += dict.values(value)
        elif isinstance(value, list | tuple):
            pending += value
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, OrderedDict):
        value = vars(value).get("_val")
    return value if isinstance(value, str | int | float) else None


def keep(workspace: Workspace, checkpoint: Checkpoint) -> Imported:
    """Store a checkpoint's parts under keys of their content; parts that are there stay.

    Raises:
        OptionError: there is no such backbone.
        WeightsError: the checkpoint's does not fit it.
    """
    parts, source = checkpoint.parts, checkpoint.source
    transformer = vit.bare_model(checkpoint.backbone)
    weights = {name: torch.from_numpy(value) for name, value in parts.backbone.items()}
    try:
        vit.load_weights(transformer, weights)
    except WeightsError as error:
        raise WeightsError(f"{source['file']} cannot be imported: {error}") from None
    spec = backbones.store_backbone(
        workspace, checkpoint.backbone, transformer, source["file"], imagenet=True
    )
    common = {"version": VERSION, "imported": source, "backbone": spec.document()}
    head = _keep_head(workspace, parts, common)
    clusters = _keep_clusters(workspace, checkpoint, head, common)
    return Imported(
        {"head": head, "clusters": clusters},
        spec,
        parts.centroids.shape[1],
        len(parts.centroids),
        None if parts.probe is None else len(parts.probe.weight),
    )


def _keep_head(workspace: Workspace, parts: ReleasedModel, common: Mapping[str, Any]) -> str:
    inputs = {"backbone": common["backbone"]["digest"], "head": backbones.digests(parts.head)}
    key = keys.key("imported head", VERSION, None, inputs)
    manifest = {**common, "stage": "head", "inputs": inputs}
    _keep(workspace, layout.head(key), {layout.HEAD_FILE: parts.head}, manifest)
    return key


def _keep_clusters(
    workspace: Workspace, checkpoint: Checkpoint, head: str, common: Mapping[str, Any]
) -> str:
    """Store the centroids, their names and the linear probe; returns the key."""
    parts, taxonomy = checkpoint.parts, checkpoint.taxonomy
    files = {layout.CENTROIDS_FILE: {"centroids": parts.centroids}}
    probe = None
    if parts.probe is not None:
        classes = None if taxonomy is None else list(taxonomy.classes)
        probe = {"classes": len(parts.probe.weight), "names": classes}
        files[layout.PROBE_FILE] = parts.probe._asdict()
    tensors = {name: value for file in files.values() for name, value in file.items()}
    pins = {"head": head, "tensors": backbones.digests(tensors), "names": checkpoint.names}
    key = keys.key("imported clusters", VERSION, None, {**pins, "probe": probe})
    manifest = {
        **common,
        "stage": "clusters",
        "classes": len(parts.centroids),
        "inputs": {"head": head, "dumps": []},
        "names": checkpoint.names,
        "probe": probe,
    }
    _keep(workspace, layout.clusters(key), files, manifest)
    return key


def _keep(
    workspace: Workspace,
    path: str,
    files: Mapping[str, Mapping[str, NDArray[np.float32]]],
    manifest: dict[str, Any],
) -> None:
    """Store files of tensors in a folder, unless it is finished."""
    folder = workspace.folder(path)
    if not folder.finished:
        for name, tensors in files.items():
            tables.write_tensors(workspace.storage, f"{folder.path}/{name}", tensors)
        folder.finish(manifest)
