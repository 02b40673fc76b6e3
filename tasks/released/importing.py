"""Published checkpoints: a `.ckpt` of STEGO becomes a workspace's backbone, head and clusters."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core.backbone import vit
from stego_core.backbone.dino_positions import has_learned
from stego_core.errors import OptionError, WeightsError
from stego_core.labels.taxonomy import Taxonomy
from stego_core.paper import released_parts, released_settings
from stego_core.paper.published_protocol import Benchmark
from stego_core.paper.released_parts import ReleasedModel
from tasks.features import backbones, checkpoint_file
from tasks.features.backbones import BackboneSpec
from tasks.labels.taxonomies import load_taxonomy
from tasks.workspace import keys, layout, tables
from tasks.workspace.workspace import Workspace

VERSION = 1
HYPER_PARAMETERS = "hyper_parameters"
"""Where Lightning keeps the configuration that a model was trained with."""
STATES = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops")
"""Entries of a checkpoint that are no configuration."""
STEGO_NAMES = {"cityscapes27": "cityscapes", "potsdam3": "potsdam"}
"""STEGO's names of data sets, where they are other ones."""
ABSENT = object()
"""What a configuration says of a name that it has not; None is a value."""


class Checkpoint(NamedTuple):
    """A checkpoint in memory.

    Attributes:
        source: the file's name and digest, for manifests.
        parts: its parameters.
        backbone: timm's name of its transformer.
        names: of its clusters; None without a taxonomy.
        taxonomy: of the linear probe's classes; None where it is not known.
        dataset: STEGO's name of what it was trained on; None where the file does not say.
    """

    source: dict[str, str]
    parts: ReleasedModel
    backbone: str
    names: list[str] | None
    taxonomy: Taxonomy | None
    dataset: Any = None


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
        document = checkpoint_file.load(content)
        state, settings = parameters(document, len(content)), settings_of(document)
        parts = released_parts.released_model(state, settings, backbone is not None)
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
    return Checkpoint(
        source, parts, known, _names(name, parts, classes), classes, settings.get("dataset_name")
    )


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
        WeightsError: there are none, or the network has parts that STEGO's has not.
    """
    state = dict.get(document, "state_dict", document) if isinstance(document, dict) else None
    if not isinstance(state, dict):
        raise WeightsError("it holds no state_dict")
    names = [name for name in dict.keys(state) if isinstance(name, str)]
    if unknown := released_parts.unknown_parameters(names):
        raise WeightsError(
            f"its network has a part that STEGO's has not, {unknown[0]}; expected "
            f"{released_parts.BACKBONE}*, {', '.join(released_parts.LAYERS.values())}"
        )
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


def settings_of(document: Any) -> dict[str, Any]:
    """The plain values of a checkpoint's configuration by their names; None is a value, too.

    Only names of `released_settings.SETTINGS` are looked up: in the hyper-parameters, or in the
    whole document where there are none. A bare state dict has no configuration.
    """
    whole = document if isinstance(document, dict) else {}
    place = dict.get(whole, HYPER_PARAMETERS)
    if place is None:
        place = [value for name, value in dict.items(whole) if name not in STATES]
    found = ((name, setting(place, name)) for name in released_settings.SETTINGS)
    return {name: value for name, value in found if value is not ABSENT}


def setting(document: Any, name: str) -> Any:
    """A plain value by its name, anywhere in a document; ABSENT if it is nowhere.

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
    return ABSENT


def _plain(value: Any) -> Any:
    """A value, or that of a configuration's node; the name of its type where it is not plain."""
    if isinstance(value, OrderedDict):
        value = vars(value).get("_val")
    plain = value is None or isinstance(value, str | int | float)
    return value if plain else f"<{type(value).__name__}>"


def require_classes(benchmark: Benchmark, checkpoint: Checkpoint) -> None:
    """Refuse a released model of other classes than the data set's; a WeightsError."""
    parts, classes = checkpoint.parts, len(benchmark.classes)
    probed = classes if parts.probe is None else len(parts.probe.weight)
    if probed != classes or len(parts.centroids) < classes:
        raise WeightsError(
            f"{checkpoint.source['file']} has {len(parts.centroids)} clusters and a linear probe "
            f"of {probed} classes, {benchmark.name} has {classes} classes; give a model of this "
            "data set"
        )


def trained_elsewhere(benchmark: Benchmark, checkpoint: Checkpoint) -> list[str]:
    """A phrase where a released model says that it was trained on another data set."""
    expected = STEGO_NAMES.get(benchmark.name, benchmark.name)
    if checkpoint.dataset in (None, expected):
        return []
    return [f"the model was trained on {checkpoint.dataset!a} (published: {expected!a})"]


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
    positions = backbones.DINO_CODE if has_learned(transformer) else "timm"
    spec = backbones.store_backbone(
        workspace, checkpoint.backbone, transformer, source["file"], None, True, positions
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
