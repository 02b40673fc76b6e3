"""Our own backbone: small, seeded, of any size, each patch where it belongs."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from stego_core.backbone.pico import ConvStem
from stego_core.backbone.vit import Backbone, bare_model, freeze, known_backbones

NAME = "vit_pico_patch8_conv_64"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return bare_model(NAME)


@pytest.fixture(scope="module")
def backbone(model: nn.Module) -> Backbone:
    return freeze(model, None, "cpu")


@pytest.fixture
def image(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (1, 48, 120, 3), dtype=np.uint8)


class TestPico:
    def test_is_known_by_name(self) -> None:
        assert NAME in known_backbones()

    def test_reads_patches_of_eight_pixels_in_four_blocks(self, backbone: Backbone) -> None:
        assert (backbone.patch, backbone.channels, backbone.layer) == (8, 128, 3)

    def test_is_normalised_as_imagenet(self, backbone: Backbone) -> None:
        assert tuple(backbone.mean) == (0.485, 0.456, 0.406)
        assert tuple(backbone.std) == (0.229, 0.224, 0.225)

    def test_weighs_four_megabytes(self, model: nn.Module) -> None:
        size = sum(value.numel() * 4 for value in model.state_dict().values())
        assert 3.5e6 < size < 4e6
        assert {value.dtype for value in model.state_dict().values()} == {torch.float32}

    @pytest.mark.parametrize("size", [(8, 8), (48, 120), (64, 64), (136, 72)])
    def test_takes_any_multiple_of_a_patch(self, backbone: Backbone, size: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        found = backbone.features(rng.integers(0, 256, (2, *size, 3), dtype=np.uint8))
        assert found.shape == (2, size[0] // 8, size[1] // 8, 128)
        assert np.isfinite(found).all()
        assert not np.array_equal(found[0], found[1])

    def test_is_drawn_from_the_seed_alone(self, model: nn.Module) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        again, other = bare_model(NAME).state_dict(), bare_model(NAME, seed=1).state_dict()
        assert torch.equal(before, torch.get_rng_state())
        own = model.state_dict()
        assert all(torch.equal(value, again[name]) for name, value in own.items())
        for name in ("patch_embed.proj.0.weight", "blocks.3.mlp.fc2.weight"):
            assert not torch.equal(own[name], other[name])

    def test_position_matters(self, backbone: Backbone) -> None:
        found = backbone.features(np.full((1, 48, 120, 3), 90, np.uint8))[0]
        inner = found[2:-2, 2:-2].reshape(-1, 128)  # the stem's zero padding does not reach here
        assert np.ptp(inner, axis=0).max() > 1e-3

    def test_every_patch_hears_of_every_other(
        self, backbone: Backbone, image: NDArray[np.uint8]
    ) -> None:
        changed = image.copy()
        changed[:, :8, :8] ^= 255
        difference = np.abs(backbone.features(image) - backbone.features(changed)).max(axis=3)
        assert difference.min() > 0


class TestConvStem:
    @pytest.fixture
    def stem(self, model: nn.Module) -> nn.Module:
        return model.patch_embed.proj  # type: ignore[union-attr,return-value]

    def test_replaces_the_projection(self, model: nn.Module) -> None:
        assert isinstance(model.patch_embed, ConvStem)

    def test_halves_three_times(self, stem: nn.Module) -> None:
        convolutions = [layer for layer in stem.children() if isinstance(layer, nn.Conv2d)]
        assert [layer.out_channels for layer in convolutions] == [32, 64, 128]
        assert {(layer.kernel_size, layer.stride) for layer in convolutions} == {((4, 4), (2, 2))}
        others = [type(each) for each in stem.children() if not isinstance(each, nn.Conv2d)]
        assert others == [nn.InstanceNorm2d, nn.GELU] * 2

    def test_light_and_contrast_of_a_whole_image_leave_no_trace(self, model: nn.Module) -> None:
        views = torch.rand((1, 3, 64, 96), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            plain, dimmed, other = (
                model.patch_embed.proj(each)  # type: ignore[union-attr,operator]
                for each in (views, 0.4 * views, views.flip(-1))
            )
        inner = (
            ...,
            slice(1, -1),
            slice(1, -1),
        )  # borders are padded with zeros, whatever the light
        assert (plain - dimmed)[inner].abs().max() < 0.05 * (plain - other)[inner].abs().max()

    @pytest.mark.parametrize("pixel", [(0, 0), (3, 4), (7, 7), (20, 57), (47, 119), (24, 64)])
    def test_a_pixel_changes_its_patch_and_at_most_the_next_ones(
        self, stem: nn.Module, pixel: tuple[int, int]
    ) -> None:
        stem = nn.Sequential(*(e for e in stem.children() if not isinstance(e, nn.InstanceNorm2d)))
        views = torch.rand((1, 3, 48, 120), generator=torch.Generator().manual_seed(0))
        changed = views.clone()
        changed[:, :, pixel[0], pixel[1]] += 10
        with torch.no_grad():
            difference = (stem(views) - stem(changed))[0].abs().amax(dim=0)
        assert difference.shape == (6, 15)
        rows, columns = np.nonzero(difference.numpy())
        row, column = pixel[0] // 8, pixel[1] // 8
        assert difference[row, column] > 0
        assert np.abs(rows - row).max() <= 1
        assert np.abs(columns - column).max() <= 1

    def test_tokens_go_row_by_row(self, model: nn.Module, stem: nn.Module) -> None:
        views = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            tokens, grid = model.patch_embed(views), stem(views)  # type: ignore[operator]
        tokens = tokens.reshape(8, 8, 128)  # dynamic sizes come as a grid, others as a sequence
        for y, x in np.ndindex(8, 8):
            assert torch.equal(tokens[y, x], grid[0, :, y, x])
