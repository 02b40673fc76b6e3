"""Names and shapes of a published checkpoint, on parameters small enough to see."""

import numpy as np
import pytest

from stego_core.backbone.vit import bare_model
from stego_core.errors import WeightsError
from stego_core.paper.released_parts import (
    DINO,
    DINO_DEPTH,
    architecture,
    names,
    needed_parameters,
    released_model,
)
from stego_core.scores.linear_probe import Probe

CHANNELS, CODE_SIZE, CLASSES, CLUSTERS = 4, 3, 2, 5


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.fixture
def state() -> dict[str, np.ndarray]:
    return {
        "net.model.norm.weight": drawn(CHANNELS),
        "net.cluster1.0.weight": drawn(CODE_SIZE, CHANNELS, 1, 1),
        "net.cluster1.0.bias": drawn(CODE_SIZE),
        "net.cluster2.0.weight": drawn(CHANNELS, CHANNELS, 1, 1),
        "net.cluster2.0.bias": drawn(CHANNELS),
        "net.cluster2.2.weight": 2 * drawn(CODE_SIZE, CHANNELS, 1, 1),
        "net.cluster2.2.bias": 2 * drawn(CODE_SIZE),
        "cluster_probe.clusters": 7 * drawn(CLUSTERS, CODE_SIZE),
        "linear_probe.weight": drawn(CLASSES, CODE_SIZE, 1, 1),
        "linear_probe.bias": drawn(CLASSES),
    }


def test_every_parameter_has_its_place(state: dict[str, np.ndarray]) -> None:
    parts = released_model(state)
    assert parts.backbone == {"norm.weight": state["net.model.norm.weight"]}
    for ours, theirs in (
        ("linear", "net.cluster1.0"),
        ("hidden", "net.cluster2.0"),
        ("nonlinear", "net.cluster2.2"),
    ):
        weight = state[f"{theirs}.weight"]
        assert np.array_equal(parts.head[f"{ours}.weight"], weight.reshape(weight.shape[:2]))
        assert np.array_equal(parts.head[f"{ours}.bias"], state[f"{theirs}.bias"])
    clusters = state["cluster_probe.clusters"].astype(np.float64)
    unit = clusters / np.sqrt((clusters**2).sum(axis=1))[:, None]
    assert parts.centroids.dtype == np.float32
    assert np.abs(parts.centroids - unit).max() < 1e-6
    assert parts.probe is not None
    assert parts.probe.weight.shape == (CLASSES, CODE_SIZE)


def test_a_linear_projection_has_a_second_branch_of_zeros(state: dict[str, np.ndarray]) -> None:
    linear = {name: value for name, value in state.items() if "cluster2" not in name}
    head = released_model(linear).head
    assert head["hidden.weight"].shape == (CHANNELS, CHANNELS)
    assert head["nonlinear.weight"].shape == (CODE_SIZE, CHANNELS)
    assert not any(
        head[f"{name}.{part}"].any()
        for name in ("hidden", "nonlinear")
        for part in ("weight", "bias")
    )


def test_a_checkpoint_may_have_no_linear_probe(state: dict[str, np.ndarray]) -> None:
    del state["linear_probe.weight"], state["linear_probe.bias"]
    assert released_model(state).probe is None


def test_what_training_alone_needs_is_not_read() -> None:
    assert needed_parameters("net.model.norm.weight")
    assert needed_parameters("cluster_probe.clusters")
    for name in ("train_cluster_probe.clusters", "decoder.weight", "network.x"):
        assert not needed_parameters(name)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("net.cluster1.0.weight", None, "lacks net.cluster1.0.weight"),
        ("net.cluster1.0.bias", None, "lacks net.cluster1.0.bias"),
        ("net.cluster2.0.weight", None, "lacks net.cluster2.0.weight"),
        ("net.cluster2.2.bias", None, "lacks net.cluster2.2.bias"),
        ("cluster_probe.clusters", None, "lacks cluster_probe.clusters"),
        ("linear_probe.bias", None, "lacks linear_probe.bias"),
        ("net.cluster1.0.weight", drawn(3, 4), r"shape \(3, 4\); expected \(any, any, 1, 1\)"),
        ("net.cluster1.0.weight", drawn(3, 4, 3, 3), r"expected \(any, any, 1, 1\)"),
        ("net.cluster1.0.bias", drawn(2), r"has shape \(2,\); expected \(3\)"),
        ("net.cluster2.0.weight", drawn(4, 5, 1, 1), r"expected \(4, 4, 1, 1\)"),
        ("net.cluster2.2.weight", drawn(2, 4, 1, 1), r"expected \(3, 4, 1, 1\)"),
        ("cluster_probe.clusters", drawn(5, 4), r"shape \(5, 4\); expected \(any, 3\)"),
        ("cluster_probe.clusters", drawn(1, 3), "1 clusters; expected 2 to 255"),
        ("cluster_probe.clusters", drawn(256, 3), "256 clusters; expected 2 to 255"),
        ("cluster_probe.clusters", np.eye(5, 3, dtype=np.float32), "row of zeros"),
        ("linear_probe.weight", drawn(2, 4, 1, 1), r"expected \(any, 3, 1, 1\)"),
        ("linear_probe.bias", np.array([0, np.nan], np.float32), "not finite"),
        ("net.model.norm.weight", np.full(4, np.inf, np.float32), "not finite"),
    ],
)  # fmt: skip
def test_refused(
    state: dict[str, np.ndarray], name: str, value: np.ndarray | None, expected: str
) -> None:
    del state[name]
    if value is not None:
        state[name] = value
    with pytest.raises(WeightsError, match=expected):
        released_model(state)


class TestArchitecture:
    @pytest.mark.parametrize(("sizes", "name"), DINO.items())
    def test_shapes_tell_the_name(self, sizes: tuple[int, int], name: str) -> None:
        side, channels = sizes
        backbone = {f"blocks.{block}.norm1.weight": drawn(1) for block in range(DINO_DEPTH)}
        backbone["patch_embed.proj.weight"] = np.zeros((channels, 3, side, side), np.float32)
        assert architecture(backbone) == name

    def test_the_name_has_these_shapes(self) -> None:
        model = bare_model("vit_tiny_patch16_224")
        shapes = {name: value.numpy() for name, value in model.state_dict().items()}
        assert architecture(shapes) == "vit_tiny_patch16_224"

    def test_others_are_unknown(self) -> None:
        backbone = {f"blocks.{block}.norm1.weight": drawn(1) for block in range(DINO_DEPTH)}
        assert architecture(backbone) is None
        backbone["patch_embed.proj.weight"] = np.zeros((384, 3, 8, 8), np.float32)
        assert architecture(backbone) == "vit_small_patch8_224.dino"
        del backbone["blocks.11.norm1.weight"]
        assert architecture(backbone) is None


def test_the_probe_names_each_cluster_once() -> None:
    """Both first clusters look like a; the second one more, so the first one becomes b."""
    centroids = np.array([[0.72, 0.694, 0], [1, 0, 0], [0, 0, 1], [-0.577] * 3], np.float32)
    probe = Probe(np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9]], np.float32), np.zeros(3, np.float32))
    assert names(centroids, probe, ["a", "b", "c"]) == ["b", "a", "c", "cluster 3"]


def test_large_responses_do_not_overflow() -> None:
    probe = Probe(np.array([[1e4, 0], [0, 1e4]], np.float32), np.zeros(2, np.float32))
    assert names(np.eye(2, dtype=np.float32)[::-1], probe, ["a", "b"]) == ["b", "a"]
