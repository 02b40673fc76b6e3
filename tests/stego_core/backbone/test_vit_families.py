"""DINO, DINOv2 and DINOv3: every architecture of theirs, against slow ones and as published."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import erf
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from stego_core.backbone.vit import Backbone, bare_model, freeze, load_weights
from stego_core.errors import WeightsError
from stego_core.pretrain.dino import DinoNetwork

Doubles = NDArray[np.float64]
Weights = dict[str, Doubles]

TABLE = [  # name, patch, channels, blocks, millions of parameters
    ("vit_small_patch8_224.dino", 8, 384, 12, 21.7),
    ("vit_small_patch16_224.dino", 16, 384, 12, 21.7),
    ("vit_base_patch8_224.dino", 8, 768, 12, 85.8),
    ("vit_base_patch16_224.dino", 16, 768, 12, 85.8),
    ("vit_small_patch14_dinov2.lvd142m", 14, 384, 12, 22.1),
    ("vit_base_patch14_dinov2.lvd142m", 14, 768, 12, 86.6),
    ("vit_large_patch14_dinov2.lvd142m", 14, 1024, 24, 304.4),
    ("vit_giant_patch14_dinov2.lvd142m", 14, 1536, 40, 1136.5),
    ("vit_small_patch14_reg4_dinov2.lvd142m", 14, 384, 12, 22.1),
    ("vit_base_patch14_reg4_dinov2.lvd142m", 14, 768, 12, 86.6),
    ("vit_large_patch14_reg4_dinov2.lvd142m", 14, 1024, 24, 304.4),
    ("vit_giant_patch14_reg4_dinov2.lvd142m", 14, 1536, 40, 1136.5),
    ("vit_small_patch16_dinov3.lvd1689m", 16, 384, 12, 21.6),
    ("vit_small_plus_patch16_dinov3.lvd1689m", 16, 384, 12, 28.7),
    ("vit_base_patch16_dinov3.lvd1689m", 16, 768, 12, 85.6),
    ("vit_large_patch16_dinov3.lvd1689m", 16, 1024, 24, 303.1),
    ("vit_large_patch16_dinov3.sat493m", 16, 1024, 24, 303.1),
    ("vit_huge_plus_patch16_dinov3.lvd1689m", 16, 1280, 32, 840.5),
    ("vit_7b_patch16_dinov3.lvd1689m", 16, 4096, 40, 6716.0),
    ("vit_small_patch16_dinov3_qkvb.lvd1689m", 16, 384, 12, 21.6),
]
DINO = ("vit_small_patch8_224.dino", "vit_base_patch16_224.dino")
DINOV2 = ("vit_small_patch14_dinov2", "vit_giant_patch14_dinov2", "vit_giant_patch14_reg4_dinov2")
DINOV3 = (
    "vit_small_patch16_dinov3",
    "vit_small_plus_patch16_dinov3",
    "vit_7b_patch16_dinov3",
    "vit_small_patch16_dinov3_qkvb",
)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SATELLITES = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)
NAMES = [row[0] for row in TABLE]


def shallow(name: str, seed: int = 0) -> Any:
    """An architecture with two blocks of two heads; every parameter drawn, so that all of them
    count (fresh layer scales would hide the blocks)."""
    head = 128 if "7b" in name else 64
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(
            name,
            depth=2,
            embed_dim=2 * head,
            num_heads=2,
            num_classes=0,
            dynamic_img_size=True,
        )
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model


def noise(model: Any, grid: tuple[int, int], count: int = 2) -> NDArray[np.uint8]:
    """Images of so many rows and columns of the model's patches."""
    side = model.patch_embed.patch_size[0]
    size = (count, grid[0] * side, grid[1] * side, 3)
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def layer_norm(x: Doubles, weights: Weights, name: str, eps: float) -> Doubles:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Doubles, weights: Weights, name: str) -> Doubles:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def silu(x: Doubles) -> Doubles:
    return x / (1 + np.exp(-x))


def slow_positions(model: Any, positions: Doubles, grid: tuple[int, int]) -> Doubles:
    """Learned positions resampled by Pillow, channel by channel."""
    planes = positions.reshape(*model.patch_embed.grid_size, -1).astype(np.float32)
    resized = [
        Image.fromarray(plane).resize(grid[::-1], Image.Resampling.BICUBIC)
        for plane in planes.transpose(2, 0, 1)
    ]
    return np.stack([np.asarray(plane, np.float64).ravel() for plane in resized], axis=1)


def slow_angles(grid: tuple[int, int], depth: int) -> Doubles:
    """DINOv3's angle of each patch and each of a head's first depth / 2 channels."""
    angles = []
    for row, column in np.ndindex(grid):
        centre = ((row + 0.5) / grid[0] * 2 - 1, (column + 0.5) / grid[1] * 2 - 1)
        periods = [100 ** (4 * i / depth) for i in range(depth // 4)]
        angles.append([2 * np.pi * place / period for place in centre for period in periods])
    return np.array(angles)


def rotated(x: Doubles, angles: Doubles, prefix: int) -> Doubles:
    """The patches' vectors (heads, tokens, depth), channel i turned with channel i + depth / 2."""
    first, second = np.split(x[:, prefix:], 2, axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    turned = np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return np.concatenate([x[:, :prefix], turned], axis=1)


def slow_attention(x: Doubles, weights: Weights, at: str, angles: Doubles | None) -> Doubles:
    """Two heads, one after the other."""
    qkv = x @ weights[f"{at}qkv.weight"].T
    if f"{at}qkv.bias" in weights:
        qkv += weights[f"{at}qkv.bias"]
    if f"{at}q_bias" in weights:
        q, v = weights[f"{at}q_bias"], weights[f"{at}v_bias"]
        qkv += np.concatenate([q, 0 * q, v])
    q, k, v = (part.reshape(len(x), 2, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, -1))
    if angles is not None:
        prefix = len(x) - len(angles)
        q, k = rotated(q, angles, prefix), rotated(k, angles, prefix)
    mixed = []
    for head in range(2):
        scores = q[head] @ k[head].T / np.sqrt(q.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed.append(shares / shares.sum(-1, keepdims=True) @ v[head])
    return linear(np.concatenate(mixed, axis=-1), weights, f"{at}proj")


def slow_mlp(x: Doubles, weights: Weights, at: str) -> Doubles:
    if f"{at}fc1_g.weight" in weights:
        hidden = silu(linear(x, weights, f"{at}fc1_g")) * linear(x, weights, f"{at}fc1_x")
        return linear(hidden, weights, f"{at}fc2")
    hidden = linear(x, weights, f"{at}fc1")
    if weights[f"{at}fc2.weight"].shape[1] < hidden.shape[1]:  # packed: gate, then value
        gate, value = np.split(hidden, 2, axis=-1)
        return linear(silu(gate) * value, weights, f"{at}fc2")
    return linear(hidden * (1 + erf(hidden / np.sqrt(2))) / 2, weights, f"{at}fc2")


def slow_features(backbone: Backbone, image: NDArray[np.uint8]) -> Doubles:
    """Patch features (rows, columns, C) in float64."""
    model: Any = backbone.model
    weights: Weights = {n: v.double().numpy() for n, v in model.state_dict().items()}
    side = model.patch_embed.patch_size[0]
    grid = (image.shape[0] // side, image.shape[1] // side)
    normal = (image / 255 - np.array(backbone.mean)) / np.array(backbone.std)
    kernel = weights["patch_embed.proj.weight"].transpose(0, 2, 3, 1)
    patches = np.array(
        [
            (kernel * normal[r * side : (r + 1) * side, c * side : (c + 1) * side]).sum((1, 2, 3))
            for r, c in np.ndindex(grid)
        ]
    )
    patches += weights["patch_embed.proj.bias"]
    prefix = [weights[name][0] for name in ("cls_token", "reg_token") if name in weights]
    angles = None
    if "pos_embed" in weights:
        learned = weights["pos_embed"][0]
        own = len(learned) - model.patch_embed.num_patches  # 1 where the class token has a place
        prefix[0] = prefix[0] + (learned[:own] if own else 0)
        patches += slow_positions(model, learned[own:], grid)
    else:
        angles = slow_angles(grid, model.embed_dim // 2)
    x, eps = np.concatenate([*prefix, patches]), model.norm.eps
    for number in range(backbone.layer + 1):
        at = f"blocks.{number}."
        scales = [
            weights.get(f"{at}ls{i}.gamma", weights.get(f"{at}gamma_{i}", np.ones(1)))
            for i in (1, 2)
        ]
        seen = layer_norm(x, weights, f"{at}norm1", eps)
        x = x + scales[0] * slow_attention(seen, weights, f"{at}attn.", angles)
        seen = layer_norm(x, weights, f"{at}norm2", eps)
        x = x + scales[1] * slow_mlp(seen, weights, f"{at}mlp.")
    kept = layer_norm(x, weights, "norm", eps)[-grid[0] * grid[1] :]
    return kept.reshape(*grid, -1)


class TestTable:
    @pytest.mark.parametrize(("name", "patch", "channels", "blocks", "millions"), TABLE)
    def test_every_name_is_known(
        self, name: str, patch: int, channels: int, blocks: int, millions: float
    ) -> None:
        with torch.device("meta"):  # nothing is allocated: a giant takes no more than a small one
            found = freeze(bare_model(name), None, "meta")
        assert (found.patch, found.channels, found.layer) == (patch, channels, blocks - 1)
        assert (tuple(found.mean), tuple(found.std)) == (SATELLITES if "sat" in name else IMAGENET)
        parameters = sum(value.numel() for value in found.model.state_dict().values())
        assert parameters / 1e6 == pytest.approx(millions, abs=0.06)

    @pytest.mark.parametrize(
        "name",
        [
            "vit_small_patch8_224.dino",
            "vit_small_patch14_reg4_dinov2.lvd142m",
            "vit_small_plus_patch16_dinov3.lvd1689m",
        ],
    )
    def test_at_full_depth_features_are_the_models_own(self, name: str) -> None:
        model: Any = bare_model(name)
        images = noise(model, (2, 3), count=1)
        backbone = freeze(model, None, "cpu")
        normal = (images / 255 - np.array(IMAGENET[0])) / np.array(IMAGENET[1])
        with torch.inference_mode():
            tokens = model.forward_features(torch.from_numpy(normal).float().permute(0, 3, 1, 2))
        expected = tokens[:, model.num_prefix_tokens :].reshape(1, 2, 3, -1)
        np.testing.assert_allclose(backbone.features(images), expected, atol=1e-4)


class TestFeatures:
    @pytest.mark.parametrize(
        ("name", "grid", "layer"),
        [
            *((name, (3, 5), None) for name in NAMES),
            *((name, (16, 2), 0) for name in (DINO[1], DINOV2[2], DINOV3[1])),
        ],
    )
    def test_of_every_architecture_are_those_of_a_slow_model(
        self, name: str, grid: tuple[int, int], layer: int | None
    ) -> None:
        """16 rows are more than the 14 that DINO's positions were learned at."""
        backbone = freeze(shallow(name), layer, "cpu")
        (image,) = noise(backbone.model, grid, count=1)
        found = backbone.features(image[None])[0]
        assert found.shape == (*grid, backbone.channels)
        np.testing.assert_allclose(found, slow_features(backbone, image), atol=1e-4)

    @pytest.mark.parametrize("name", [DINO[0], DINOV2[2], DINOV3[1]])
    def test_depend_on_no_other_image_and_on_no_size_seen_before(self, name: str) -> None:
        model = shallow(name)
        images, backbone = noise(model, (3, 5), count=3), freeze(model, None, "cpu")
        before = backbone.features(images)
        backbone.features(noise(model, (6, 2)))
        np.testing.assert_array_equal(backbone.features(images), before)
        for image, features in zip(images, before, strict=True):
            np.testing.assert_allclose(backbone.features(image[None])[0], features, atol=1e-4)

    @pytest.mark.parametrize("name", [DINO[0], DINOV2[2], DINOV3[1]])
    def test_pretraining_sees_the_same_ones(self, name: str) -> None:
        model = shallow(name)
        images = noise(model, (4, 4))
        recipe = SimpleNamespace(hidden=4, bottleneck=4, prototypes=4)
        views = torch.from_numpy(images / 255).float().permute(0, 3, 1, 2)
        with torch.inference_mode():
            tokens = DinoNetwork(model, cast(Any, recipe)).tokens(views).permute(0, 2, 3, 1)
        np.testing.assert_allclose(freeze(model, None, "cpu").features(images), tokens, atol=1e-4)


def as_dinov2(model: Any) -> dict[str, Tensor]:
    """A model's weights as facebookresearch/dinov2 names them."""
    found = {
        name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.")
        if "giant" in model.pretrained_cfg["architecture"]
        else name: value.clone()
        for name, value in model.state_dict().items()
    }
    found["mask_token"] = torch.ones(1, model.embed_dim)
    if "reg_token" in found:
        place = torch.full((1, 1, model.embed_dim), 0.5)
        found["register_tokens"] = found.pop("reg_token")
        found["cls_token"] = found["cls_token"] - place
        found["pos_embed"] = torch.cat([place, found["pos_embed"]], dim=1)
    return found


def as_dinov3(model: Any) -> dict[str, Tensor]:
    """A model's weights as facebookresearch/dinov3 names them."""
    depth = model.embed_dim
    found = {
        "mask_token": torch.ones(1, depth),
        "rope_embed.periods": model.rope.periods.bfloat16(),
        "local_cls_norm.weight": torch.ones(depth),
        "local_cls_norm.bias": torch.ones(depth),
    }
    for name, value in model.state_dict().items():
        for timms, published in (
            ("reg_token", "storage_tokens"),
            ("gamma_1", "ls1.gamma"),
            ("gamma_2", "ls2.gamma"),
            ("fc1_g", "w1"),
            ("fc1_x", "w2"),
            ("mlp.fc2", "mlp.w3" if hasattr(model.blocks[0].mlp, "fc1_g") else "mlp.fc2"),
        ):
            name = name.replace(timms, published)
        if not name.endswith(("q_bias", "v_bias")):
            found[name] = value
    for number, block in enumerate(model.blocks):
        attention, none = block.attn, torch.zeros(depth)
        biases = (none, none) if attention.q_bias is None else (attention.q_bias, attention.v_bias)
        at = f"blocks.{number}.attn.qkv.bias"
        found[at] = torch.cat([biases[0].detach(), none + 7, biases[1].detach()])
        found[f"{at}_mask"] = torch.cat([none + 1, none, none + 1])
    return found


def published(model: Any) -> dict[str, Tensor]:
    return as_dinov3(model) if isinstance(model, eva.Eva) else as_dinov2(model)


class TestPublishedWeights:
    @pytest.mark.parametrize("name", [*DINOV2, *DINOV3])
    def test_are_read(self, name: str) -> None:
        model, fresh = shallow(name, seed=1), shallow(name, seed=2)
        load_weights(fresh, {f"module.backbone.{n}": v for n, v in published(model).items()})
        for parameter, value in fresh.state_dict().items():
            torch.testing.assert_close(value, model.state_dict()[parameter], msg=parameter)

    @pytest.mark.parametrize("name", [*DINOV2, *DINOV3])
    def test_are_read_as_timm_reads_them(self, name: str) -> None:
        model, fresh = shallow(name, seed=1), shallow(name, seed=2)
        theirs = eva if isinstance(model, eva.Eva) else vision_transformer
        expected = theirs.checkpoint_filter_fn(published(model), model)
        load_weights(fresh, published(model))
        assert set(expected) == set(fresh.state_dict())
        for parameter, value in fresh.state_dict().items():
            torch.testing.assert_close(value, expected[parameter], msg=parameter)

    def test_blocks_in_chunks(self) -> None:
        model, fresh = shallow(DINOV2[0], seed=1), shallow(DINOV2[0], seed=2)
        chunked = {n.replace("blocks.1.", "blocks.1.1."): v for n, v in published(model).items()}
        chunked = {n.replace("blocks.0.", "blocks.0.0."): v for n, v in chunked.items()}
        load_weights(fresh, chunked)
        assert all(torch.equal(v, fresh.state_dict()[n]) for n, v in model.state_dict().items())

    def test_projection_heads_are_dropped(self) -> None:
        model = shallow(DINOV2[0])
        heads = {"dino_head.mlp.0.weight": torch.ones(1), "ibot_head.mlp.0.bias": torch.ones(1)}
        load_weights(shallow(DINOV2[0], seed=1), {**published(model), **heads})

    @pytest.mark.parametrize(
        ("given", "wanted", "message"),
        [
            (DINOV2[2], DINOV2[1], "1 parameters that the backbone does not have.*reg_token"),
            (DINOV2[1], DINOV2[2], "lack 1 of .*reg_token"),
            (DINOV3[3], DINOV3[0], r"blocks\.0\.attn\.q_bias.*are not zero.*_dinov3_qkvb"),
            (DINOV3[0], DINOV2[0], "lack .*give weights of this very --backbone"),
            (DINO[0], DINO[1], r"pos_embed have shape \(1, 785, 128\)"),
        ],
    )
    def test_of_another_backbone_are_refused(self, given: str, wanted: str, message: str) -> None:
        weights = shallow(given).state_dict() if given in DINO else published(shallow(given))
        with pytest.raises(WeightsError, match=message):
            load_weights(shallow(wanted), weights)

    @pytest.mark.parametrize(
        ("name", "more", "message"),
        [
            (DINOV3[0], "rope_embed.scale", "hold 1 .*rope_embed.scale"),
            (DINOV3[0], "projectors.0.weight", "hold 1 .*projectors"),
            (DINOV2[0], "decoder_embed.weight", "hold 1 .*decoder_embed"),
            (DINOV2[0], "module.norm.weight", "hold 1 parameters twice"),
        ],
    )
    def test_what_is_unknown_does_not_pass(self, name: str, more: str, message: str) -> None:
        model = shallow(name)
        with pytest.raises(WeightsError, match=message):
            load_weights(model, {**published(model), more: torch.ones(1)})

    def test_positions_and_patches_of_another_size_are_refused(self) -> None:
        """timm's filter would resample both."""
        model = shallow(DINOV2[0])
        weights = published(model)
        weights["pos_embed"] = weights["pos_embed"][:, : 1 + 16**2]
        with pytest.raises(WeightsError, match=r"pos_embed have shape \(1, 257, 128\)"):
            load_weights(model, weights)

    def test_a_bias_of_keys_is_refused(self) -> None:
        model = shallow(DINOV3[3])
        weights = published(model)
        del weights["blocks.1.attn.qkv.bias_mask"]
        with pytest.raises(WeightsError, match=r"blocks\.1\.attn\.k_bias are not zero"):
            load_weights(model, weights)
