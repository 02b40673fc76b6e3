"""The frozen backbone: normalisation, layers, weights, and what is refused."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stego_core.backbone.vit import (
    Backbone,
    bare_model,
    freeze,
    known_backbones,
    load_weights,
    pooled,
)
from stego_core.errors import OptionError, WeightsError

NAME = "vit_tiny_patch16_224"
DEPTH = 12


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return bare_model(NAME)


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)


def slow_normal(images: NDArray[np.uint8], mean: list[float], std: list[float]) -> Tensor:
    """(B, 3, H, W) of (B, H, W, 3), pixel by pixel."""
    batch, height, width, _ = images.shape
    out = torch.zeros((batch, 3, height, width))
    for b, y, x, c in np.ndindex(images.shape):
        out[b, c, y, x] = (int(images[b, y, x, c]) / 255 - mean[c]) / std[c]
    return out


class TestConfiguration:
    def test_patch_depth_and_normalisation_are_the_models_own(
        self, tiny_backbone: Backbone
    ) -> None:
        assert (tiny_backbone.patch, tiny_backbone.channels) == (16, 192)
        assert tuple(tiny_backbone.mean) == tuple(tiny_backbone.std) == (0.5, 0.5, 0.5)
        assert tiny_backbone.layer == DEPTH - 1

    def test_imagenet_normalisation_where_the_model_wants_it(self) -> None:
        backbone = freeze(bare_model("deit_tiny_patch16_224"), None, "cpu")
        assert tuple(backbone.mean) == (0.485, 0.456, 0.406)
        assert tuple(backbone.std) == (0.229, 0.224, 0.225)

    def test_is_frozen_and_in_evaluation_mode(self, tiny_backbone: Backbone) -> None:
        assert not tiny_backbone.model.training
        assert not any(p.requires_grad for p in tiny_backbone.model.parameters())

    def test_known_names_can_be_built(self) -> None:
        names = known_backbones()
        assert {NAME, "vit_small_patch16_224", "deit_tiny_patch16_224"} <= set(names)


class TestFeatures:
    def test_shape_of_an_image_that_is_not_square(
        self, tiny_backbone: Backbone, images: NDArray[np.uint8]
    ) -> None:
        found = tiny_backbone.features(images)
        assert (found.shape, found.dtype) == ((2, 2, 3, 192), np.float32)

    def test_last_layer_is_the_models_output_without_its_class_token(
        self, tiny_backbone: Backbone, images: NDArray[np.uint8]
    ) -> None:
        normal = slow_normal(images, [0.5] * 3, [0.5] * 3)
        with torch.inference_mode():
            tokens = tiny_backbone.model.forward_features(normal)[:, 1:]
        found = tiny_backbone.features(images)
        for row in range(2):
            for column in range(3):
                expected = tokens[:, 3 * row + column]
                np.testing.assert_allclose(found[:, row, column], expected, atol=1e-4)

    @pytest.mark.parametrize("layer", [0, 8, DEPTH - 1])
    def test_layer_is_the_blocks_output_through_the_final_norm(
        self, model: nn.Module, images: NDArray[np.uint8], layer: int
    ) -> None:
        seen: list[Tensor] = []
        hook = model.blocks[layer].register_forward_hook(lambda *args: seen.append(args[2]))
        found = freeze(model, layer, "cpu").features(images)
        hook.remove()
        with torch.inference_mode():
            expected = model.norm(seen[0])[:, 1:].reshape(2, 2, 3, 192)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_images_of_a_batch_do_not_mix(
        self, tiny_backbone: Backbone, images: NDArray[np.uint8]
    ) -> None:
        both = tiny_backbone.features(images)
        np.testing.assert_allclose(both[1], tiny_backbone.features(images[1:])[0], atol=1e-4)

    def test_bfloat16_products_give_nearly_the_same_features(
        self, model: nn.Module, images: NDArray[np.uint8]
    ) -> None:
        exact = freeze(model, None, "cpu").features(images)
        found = freeze(bare_model(NAME), None, "cpu", precision="bfloat16").features(images)
        assert found.dtype == np.float32
        assert not np.array_equal(found, exact)
        norms = np.linalg.norm(found, axis=-1) * np.linalg.norm(exact, axis=-1)
        assert ((found * exact).sum(axis=-1) / norms).min() > 0.999

    def test_accepts_views_and_read_only_arrays(
        self, tiny_backbone: Backbone, images: NDArray[np.uint8]
    ) -> None:
        mirrored = images[:, :, ::-1]
        expected = tiny_backbone.features(mirrored.copy())
        np.testing.assert_array_equal(tiny_backbone.features(mirrored), expected)

    def test_register_tokens_are_dropped(self) -> None:
        backbone = freeze(bare_model("vit_small_patch14_reg4_dinov2"), 0, "cpu")
        assert backbone.features(np.zeros((1, 28, 14, 3), np.uint8)).shape == (1, 2, 1, 384)

    def test_pooling_before_the_norm_is_refused(self) -> None:
        with pytest.raises(OptionError, match="has no final LayerNorm over patch tokens"):
            bare_model("vit_wee_patch16_reg1_gap_256")


class TestBuild:
    def test_weights_depend_on_the_seed_alone(self, model: nn.Module) -> None:
        before = torch.get_rng_state()
        again, other = bare_model(NAME), bare_model(NAME, seed=1)
        assert torch.equal(before, torch.get_rng_state())
        assert torch.equal(model.pos_embed, again.pos_embed)
        assert not torch.equal(model.pos_embed, other.pos_embed)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("vit_huge_patch9", "'vit_huge_patch9' is not a timm model; expected"),
            (f"{NAME}.nonsense", "'vit_tiny_patch16_224.nonsense' cannot be built.*nonsense"),
            ("resnet18", "'resnet18'"),
            ("swin_tiny_patch4_window7_224", "is not a plain vision transformer; choose a vit_"),
        ],
    )
    def test_other_backbones_are_refused(self, name: str, message: str) -> None:
        with pytest.raises(OptionError, match=message):
            bare_model(name)

    def test_close_names_are_suggested(self) -> None:
        with pytest.raises(OptionError, match="vit_small_patch8_224"):
            bare_model("vit_small_patch8")

    @pytest.mark.parametrize("layer", [-1, DEPTH])
    def test_layer_that_does_not_exist(self, model: nn.Module, layer: int) -> None:
        with pytest.raises(OptionError, match=rf"--layer {layer} .* 0 to 11"):
            freeze(model, layer, "cpu")


class TestWeights:
    @pytest.fixture
    def weights(self) -> dict[str, Tensor]:
        return bare_model(NAME, seed=5).state_dict()

    def check_loaded(self, given: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
        fresh = bare_model(NAME)
        load_weights(fresh, given)
        assert all(torch.equal(value, weights[name]) for name, value in fresh.state_dict().items())

    def test_are_loaded(self, weights: dict[str, Tensor]) -> None:
        self.check_loaded(weights, weights)

    @pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
    def test_prefixes_of_training_scripts_are_dropped(
        self, weights: dict[str, Tensor], prefix: str
    ) -> None:
        self.check_loaded({prefix + name: value for name, value in weights.items()}, weights)

    def test_a_classifier_is_dropped(self, weights: dict[str, Tensor]) -> None:
        head = {"head.weight": torch.zeros(10, 192), "module.head.bias": torch.zeros(10)}
        self.check_loaded({**weights, **head}, weights)

    def test_missing_parameters_are_named_and_counted(
        self, model: nn.Module, weights: dict[str, Tensor]
    ) -> None:
        del weights["blocks.3.mlp.fc1.bias"], weights["cls_token"]
        with pytest.raises(WeightsError, match=r"lack 2 of .*blocks\.3\.mlp\.fc1\.bias, cls_token"):
            load_weights(model, weights)

    def test_other_shapes_are_named(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        weights["norm.weight"] = torch.zeros(7)
        with pytest.raises(WeightsError, match=r"norm\.weight have shape \(7,\).*\(192,\)"):
            load_weights(model, weights)

    def test_unknown_parameters_are_named(
        self, model: nn.Module, weights: dict[str, Tensor]
    ) -> None:
        weights["blocks.12.norm1.weight"] = torch.zeros(192)
        with pytest.raises(WeightsError, match=r"hold 1 .*blocks\.12\.norm1\.weight"):
            load_weights(model, weights)

    def test_refused_weights_leave_the_model_alone(
        self, model: nn.Module, weights: dict[str, Tensor]
    ) -> None:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        weights["zzz"] = torch.zeros(1)
        with pytest.raises(WeightsError):
            load_weights(model, weights)
        assert all(torch.equal(before[n], value) for n, value in model.state_dict().items())


class TestPooled:
    def test_is_the_unit_mean_of_the_patches(self, rng: np.random.Generator) -> None:
        patches = rng.normal(size=(3, 2, 4, 5)).astype(np.float16)
        found = pooled(patches)
        assert found.dtype == np.float32
        for image, vector in zip(patches.astype(float), found, strict=True):
            mean = [math.fsum(image[:, :, c].ravel()) / 8 for c in range(5)]
            length = math.hypot(*mean)
            np.testing.assert_allclose(vector, [m / length for m in mean], atol=1e-6)

    def test_large_float16_values_do_not_overflow(self) -> None:
        patches = np.full((1, 20, 20, 2), 6e4, np.float16)
        np.testing.assert_allclose(pooled(patches), 0.5**0.5, rtol=1e-6)

    def test_zeros_stay_zero(self) -> None:
        assert not pooled(np.zeros((1, 2, 2, 3), np.float16)).any()
