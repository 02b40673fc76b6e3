"""The parameters of a published STEGO checkpoint under this project's names."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from stego_core.clustering.kmeans import unit
from stego_core.errors import WeightsError
from stego_core.paper.released_settings import Sizes, projects, require_known
from stego_core.scores.linear_probe import Probe

Array = NDArray[np.float32]

BACKBONE = "net.model."
LINEAR, HIDDEN, NONLINEAR = "net.cluster1.0", "net.cluster2.0", "net.cluster2.2"
CLUSTERS, PROBE = "cluster_probe.clusters", "linear_probe"
BRANCH = "net.cluster2."
"""How the names of the second branch begin."""
LAYERS = {"linear": LINEAR, "hidden": HIDDEN, "nonlinear": NONLINEAR}
"""1×1 convolutions of STEGO's head by the names of this project's (`stego_core.head.head.Head`)."""
DINO = {
    (8, 384): "vit_small_patch8_224.dino",
    (16, 384): "vit_small_patch16_224.dino",
    (8, 768): "vit_base_patch8_224.dino",
    (16, 768): "vit_base_patch16_224.dino",
    (16, 192): "vit_tiny_patch16_224",
}
"""timm's name of DINO's transformers, all of `DINO_DEPTH` blocks, by patch side and channels."""
DINO_DEPTH = 12
MOST_CLUSTERS = 255
"""Masks are bytes."""


class ReleasedModel(NamedTuple):
    """A checkpoint's parts.

    Attributes:
        backbone: parameters by timm's names.
        head: parameters of `stego_core.head.head.Head`.
        centroids: (K, D) float32 unit vectors.
        probe: the linear probe, if there is one.
    """

    backbone: dict[str, Array]
    head: dict[str, Array]
    centroids: Array
    probe: Probe | None


def needed_parameters(name: str) -> bool:
    """Whether `released_model` reads a parameter of the state dict.

    Only training needs the others: a second cluster probe, a decoder that no result depends on.
    """
    prefixes = (BACKBONE, "net.cluster1.", "net.cluster2.", "cluster_probe.", f"{PROBE}.")
    return name.startswith(prefixes)


def unknown_parameters(names: Sequence[str]) -> list[str]:
    """Names of the network's parameters that `released_model` has no place for, in order."""
    head = {f"{layer}.{part}" for layer in LAYERS.values() for part in ("weight", "bias")}
    network = (name for name in names if name.startswith("net."))
    return sorted(name for name in network if not name.startswith(BACKBONE) and name not in head)


def released_model(
    state: Mapping[str, Array], settings: Mapping[str, Any] | None = None, named: bool = False
) -> ReleasedModel:
    """The parts of a checkpoint from its parameters and its configuration.

    Codes are A·f + B₂·relu(B₁·f) with A = `net.cluster1.0`, B₁, B₂ = `net.cluster2.0`, `.2`; where
    the projection is linear, B₁ and B₂ are missing, and zero here; where there is none, codes are
    features, A is the identity and the checkpoint's own A is unused. The centroids are
    `cluster_probe.clusters` scaled to norm 1, as its cosine does (STEGO's `ClusterLookup`).

    Args:
        state: parameters by their names.
        settings: values of `released_settings.SETTINGS`; None or names left out say nothing.
        named: whether a person has named the backbone.

    Raises:
        WeightsError: parameters are missing, of other shapes, not finite, or not those of the
            settings.
    """
    settings = settings or {}
    broken = sorted(name for name, value in state.items() if not np.isfinite(value).all())
    if broken:
        raise WeightsError(f"its {broken[0]} holds numbers that are not finite; fetch it again")
    backbone = {
        name.removeprefix(BACKBONE): value
        for name, value in state.items()
        if name.startswith(BACKBONE)
    }
    head = _head(state) if projects(settings) else _no_head(state)
    code_size, channels = head["linear.weight"].shape
    clusters = _shaped(state, CLUSTERS, (None, None if not projects(settings) else code_size))
    if not 2 <= len(clusters) <= MOST_CLUSTERS:
        raise WeightsError(f"it has {len(clusters)} clusters; expected 2 to {MOST_CLUSTERS}")
    if not (np.linalg.norm(clusters, axis=1) > 0).all():
        raise WeightsError(f"its {CLUSTERS} has a row of zeros, which has no direction")
    probed = f"{PROBE}.weight" in state
    probe = Probe(*_convolution(state, PROBE, None, clusters.shape[1])) if probed else None
    sizes = Sizes(
        channels,
        _patch(backbone),
        clusters.shape[1],
        len(clusters),
        None if probe is None else len(probe.weight),
        any(name.startswith(BRANCH) for name in state),
    )
    require_known(settings, sizes, named)
    return ReleasedModel(backbone, head, np.asarray(unit(clusters), np.float32), probe)


def _head(state: Mapping[str, Array]) -> dict[str, Array]:
    """The head's parameters; the nonlinear branch is zero where the checkpoint has none."""
    weight, bias = _convolution(state, LINEAR, None, None)
    code_size, channels = weight.shape
    sizes = {"hidden": (channels, channels), "nonlinear": (code_size, channels)}
    head = {"linear.weight": weight, "linear.bias": bias}
    for name, (outputs, inputs) in sizes.items():
        if any(parameter.startswith(BRANCH) for parameter in state):
            weight, bias = _convolution(state, LAYERS[name], outputs, inputs)
        else:
            weight, bias = np.zeros((outputs, inputs), np.float32), np.zeros(outputs, np.float32)
        head |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return head


def _no_head(state: Mapping[str, Array]) -> dict[str, Array]:
    """A head whose codes are the features, exactly: identity, and zeros in the second branch."""
    weight, _ = _convolution(state, LINEAR, None, None)
    channels = weight.shape[1]
    zeros = np.zeros((channels, channels), np.float32), np.zeros(channels, np.float32)
    head = {"linear.weight": np.eye(channels, dtype=np.float32), "linear.bias": zeros[1]}
    for name in ("hidden", "nonlinear"):
        head |= {f"{name}.weight": zeros[0], f"{name}.bias": zeros[1]}
    return head


def _patch(backbone: Mapping[str, Array]) -> int | None:
    """Side of a patch; None where the shapes do not tell it."""
    projection = backbone.get("patch_embed.proj.weight")
    return projection.shape[3] if projection is not None and projection.ndim == 4 else None


def _convolution(
    state: Mapping[str, Array], name: str, outputs: int | None, inputs: int | None
) -> tuple[Array, Array]:
    """Weight (outputs, inputs) and bias (outputs,) of a 1×1 convolution; None is any size."""
    weight = _shaped(state, f"{name}.weight", (outputs, inputs, 1, 1))[:, :, 0, 0]
    return weight, _shaped(state, f"{name}.bias", (len(weight),))


def _shaped(state: Mapping[str, Array], name: str, shape: tuple[int | None, ...]) -> Array:
    """A parameter of a shape in which None is any size."""
    if name not in state:
        raise WeightsError(
            f"it lacks {name}; expected a STEGO checkpoint, with {BACKBONE}*, {LINEAR}.*, "
            f"{CLUSTERS} in its state_dict"
        )
    actual = state[name].shape
    sized = zip(actual, shape, strict=False)
    if len(actual) != len(shape) or any(b not in (None, a) for a, b in sized) or 0 in actual:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise WeightsError(f"its {name} has shape {actual}; expected ({sizes})")
    return state[name]


def architecture(backbone: Mapping[str, Array]) -> str | None:
    """timm's name of a DINO transformer, by the shapes of its parameters; None if unknown."""
    projection = backbone.get("patch_embed.proj.weight")
    depth = len({block[1] for name in backbone if (block := re.match(r"blocks\.(\d+)\.", name))})
    if projection is None or projection.ndim != 4 or depth != DINO_DEPTH:
        return None
    channels, _, side, _ = projection.shape
    return DINO.get((side, channels))


def names(centroids: Array, probe: Probe, classes: Sequence[str]) -> list[str]:
    """K names of clusters: the class that the linear probe predicts of a centroid, one-to-one.

    The assignment maximises the sum of the probabilities softmax(W·μ) of the unit centroids μ
    (K, D), without the probe's bias. It is an estimate: the paper matched clusters on labelled
    images. A cluster for which no class is left is called "cluster 7".
    """
    result = [f"cluster {number}" for number in range(len(centroids))]
    probabilities = softmax(probe.weight @ centroids.T, axis=0)
    for cls, cluster in zip(*linear_sum_assignment(probabilities, True), strict=True):
        result[cluster] = classes[cls]
    return result
