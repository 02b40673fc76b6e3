"""Published checkpoints: what is read of one, against an evaluation written out by hand."""

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import lightning_file as made
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stego_core.errors import OptionError, WeightsError
from stego_core.masks.crf import SHARPNESS
from stego_core.masks.segmenter import Segmenter
from tasks.masks.segmenter import segmenter_spec
from tasks.options import MasksOptions
from tasks.released import importing
from tasks.workspace.workspace import Workspace

TINY, HEADS, BLOCKS = "vit_tiny_patch16_224", 3, 12


def slow_positions(learned: Tensor, height: int, width: int) -> Tensor:
    """DINO's resampling (1, 1 + h·w, 192) of 1 + 14·14 positions; 224 pixels keep theirs."""
    if (height, width) == (14, 14):
        return learned
    planes = learned[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    scale = ((height + 0.1) / 14, (width + 0.1) / 14)
    own = functional.interpolate(planes, scale_factor=scale, mode="bicubic")
    return torch.cat([learned[:, :1], own.flatten(2).transpose(1, 2)], dim=1)


def slow_codes(state: dict[str, Tensor], image: np.ndarray, projects: bool = True) -> Tensor:
    """Codes (1, D, h, w) of STEGO's network, from the checkpoint's own tensors, in float64.

    They are the features where it does not project them.
    """
    own = {name: value.double() for name, value in state.items()}
    vit = {name.removeprefix("net.model."): value for name, value in own.items()}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.from_numpy(image.copy()).double() / 255 - mean) / std).permute(2, 0, 1)[None]
    maps = functional.conv2d(
        pixels, vit["patch_embed.proj.weight"], vit["patch_embed.proj.bias"], stride=16
    )
    height, width = maps.shape[2:]
    tokens = torch.cat([vit["cls_token"], maps.flatten(2).transpose(1, 2)], 1)
    tokens = tokens + slow_positions(vit["pos_embed"], height, width)

    def normed(name: str, values: Tensor) -> Tensor:
        sizes = values.shape[-1:]
        return functional.layer_norm(
            values, sizes, vit[f"{name}.weight"], vit[f"{name}.bias"], 1e-6
        )

    def linear(name: str, values: Tensor) -> Tensor:
        return values @ vit[f"{name}.weight"].T + vit[f"{name}.bias"]

    for block in range(BLOCKS):
        name = f"blocks.{block}"
        qkv = linear(f"{name}.attn.qkv", normed(f"{name}.norm1", tokens))
        q, k, v = qkv.reshape(1, -1, 3, HEADS, 192 // HEADS).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / (192 // HEADS) ** 0.5).softmax(-1)
        seen = (weights @ v).transpose(1, 2).reshape(1, -1, 192)
        tokens = tokens + linear(f"{name}.attn.proj", seen)
        hidden = functional.gelu(linear(f"{name}.mlp.fc1", normed(f"{name}.norm2", tokens)))
        tokens = tokens + linear(f"{name}.mlp.fc2", hidden)
    features = normed("norm", tokens)[:, 1:].transpose(1, 2).reshape(1, -1, height, width)

    if not projects:
        return features

    def convolved(name: str, values: Tensor) -> Tensor:
        return functional.conv2d(values, own[f"{name}.weight"], own[f"{name}.bias"])

    codes = convolved("net.cluster1.0", features)
    if "net.cluster2.0.weight" in own:
        codes = codes + convolved("net.cluster2.2", convolved("net.cluster2.0", features).relu())
    return codes


def mean_codes(state: dict[str, Tensor], image: np.ndarray, projects: bool = True) -> Tensor:
    """Mean of the codes of an image and of its mirrored twin, mirrored back."""
    mirrored = slow_codes(state, image[:, ::-1], projects)
    return (slow_codes(state, image, projects) + mirrored.flip(3)) / 2


def slow_scores(state: dict[str, Tensor], codes: Tensor, size: tuple[int, int]) -> Tensor:
    """log softmax (K, H, W) of 2·cos, the codes upsampled bilinearly to the image's size."""
    full = functional.interpolate(codes, size, mode="bilinear", align_corners=False)[0]
    clusters = functional.normalize(state["cluster_probe.clusters"].double(), dim=1)
    cosines = torch.einsum("dhw,kd->khw", functional.normalize(full, dim=0), clusters)
    return (2 * cosines).log_softmax(0)


def segmenter(workspace: Workspace, found: importing.Imported, side: int) -> Segmenter:
    options = {"resolution": side, "tile": side, "crf_iterations": 0}
    chosen = MasksOptions(views="mirror", sharpness=SHARPNESS, **options)
    return segmenter_spec(workspace, found.keys["clusters"], chosen).build("cpu")


@pytest.mark.parametrize(
    ("projection", "side"), [("nonlinear", 320), ("nonlinear", 224), ("linear", 224), (None, 320)]
)
def test_codes_and_classes_are_those_of_the_checkpoint(
    tmp_path: Path, projection: str | None, side: int
) -> None:
    """At 224 pixels, which the positions were learned at, and on the squares of the evaluation."""
    features = projection is None
    size = 192 if features else made.CODE_SIZE
    state = made.state_dict(TINY, nonlinear=projection == "nonlinear", code_size=size)
    file = made.write(tmp_path / "tiny.ckpt", state, projection_type=projection, dim=size)
    workspace = Workspace.create(str(tmp_path / "ws"))
    found = importing.keep(workspace, importing.read(str(file)))
    assert (found.backbone.name, found.backbone.layer) == (TINY, BLOCKS - 1)
    assert not made.Foreign.touched
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    ours = segmenter(workspace, found, side)
    codes = mean_codes(state, image, projects=not features)
    largest = float(codes.abs().max())
    assert np.abs(ours.codes(image) - codes[0].permute(1, 2, 0).numpy()).max() < 1e-4 * largest
    scores = slow_scores(state, codes, (side, side))
    first, second = scores.topk(2, dim=0).values
    clear = (first - second > 1e-4).numpy()  # elsewhere rounding decides
    assert clear.mean() > 0.99
    expected = scores.argmax(0).numpy()
    assert len(np.unique(expected)) > 1
    assert np.array_equal(ours(image)[clear], expected[clear])


class TestRead:
    @pytest.mark.parametrize("protocol", [2, 3])
    def test_objects_of_classes_that_are_not_here(self, tmp_path: Path, protocol: int) -> None:
        state = made.state_dict()
        with made.installed() as classes:
            content = made.saved(made.checkpoint(state, classes), pickle_protocol=protocol)
        (tmp_path / "x.ckpt").write_bytes(content)
        assert "omegaconf" not in sys.modules
        parts = importing.read(str(tmp_path / "x.ckpt"), made.PICO).parts
        assert not made.Foreign.touched
        assert "omegaconf" not in sys.modules
        for name, value in parts.backbone.items():
            assert np.array_equal(value, state[f"net.model.{name}"].numpy())
        assert len(parts.centroids) == made.CLASSES + made.EXTRA

    def test_a_bare_state_dict(self, tmp_path: Path) -> None:
        (tmp_path / "x.pth").write_bytes(made.saved(made.state_dict()))
        assert importing.read(str(tmp_path / "x.pth"), made.PICO).backbone == made.PICO

    def test_an_object_of_an_unknown_package(self, tmp_path: Path) -> None:
        with made.installed() as classes:
            document = made.checkpoint(made.state_dict(), classes)
            document["hyper_parameters"]["mine"] = classes["Settings"](lr=1)
            (tmp_path / "x.ckpt").write_bytes(made.saved(document))
        importing.read(str(tmp_path / "x.ckpt"), made.PICO)
        assert not made.Foreign.touched

    def test_other_features(self, tmp_path: Path) -> None:
        file = made.write(tmp_path / "x.ckpt", dino_feat_type="KK")
        with pytest.raises(WeightsError, match=r"'KK', which means codes of other features than"):
            importing.read(str(file), made.PICO)

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({"arch": "feature-pyramid"}, r"its arch is 'feature-pyramid', which means another"),
            ({"projection_type": "mlp"}, r"its projection_type is 'mlp'"),
            ({"projection_type": "linear"}, r"'linear', and its head has the second branch"),
            ({"projection_type": None}, r"None, so that codes are features of 128 numbers"),
            ({"dim": 99}, r"its dim says 99 numbers a code, and its parameters have 12"),
            (
                {"continuous": False},
                r"its n_classes says 5 numbers a code, and its parameters have 12",
            ),
            ({"model_type": "vit_base"}, r"its model_type vit_base says 768 channels, .* have 128"),
            ({"n_classes": 9}, r"its n_classes says 9 classes in the linear probe, .* have 5"),
            ({"extra_clusters": 0}, r"its n_classes says 5 clusters, and its parameters have 7"),
            ({"use_recalibrator": True}, r"its use_recalibrator is True, which means a part"),
        ],
    )
    def test_a_configuration_that_makes_another_model(
        self, tmp_path: Path, settings: dict[str, Any], expected: str
    ) -> None:
        file = made.write(tmp_path / "x.ckpt", **settings)
        with pytest.raises(WeightsError, match=expected):
            importing.read(str(file), made.PICO)

    def test_what_changes_training_alone_changes_nothing(self, tmp_path: Path) -> None:
        settings = {"dropout": False, "pointwise": False, "neg_samples": 3, "zero_clamp": False}
        one = importing.read(str(made.write(tmp_path / "x.ckpt")), made.PICO)
        other = importing.read(str(made.write(tmp_path / "y.ckpt", **settings)), made.PICO)
        assert all(np.array_equal(one.parts.head[n], other.parts.head[n]) for n in one.parts.head)

    def test_the_configuration_is_that_of_the_hyper_parameters(self, tmp_path: Path) -> None:
        with made.installed() as classes:
            document = made.checkpoint(made.state_dict(), classes)
            document["callbacks"] = {"dim": 3, "arch": "other"}  # not the model's
            (tmp_path / "x.ckpt").write_bytes(made.saved(document))
        assert importing.read(str(tmp_path / "x.ckpt"), made.PICO).parts.probe is not None

    @pytest.mark.parametrize("name", ["net.cluster2.4.weight", "net.cluster3.0.bias", "net.crf.w"])
    def test_a_network_of_more_parts(self, tmp_path: Path, name: str) -> None:
        state = made.state_dict() | {name: torch.zeros(2)}
        file = made.write(tmp_path / "x.ckpt", state)
        with pytest.raises(WeightsError, match=rf"a part that STEGO's has not, {name}"):
            importing.read(str(file), made.PICO)

    def test_an_unknown_model_type_needs_the_name_of_the_backbone(self, tmp_path: Path) -> None:
        file = made.write(tmp_path / "x.ckpt", model_type="pico")
        importing.read(str(file), made.PICO)
        with pytest.raises(WeightsError, match=r"its model_type is 'pico', which means another"):
            importing.read(str(file))

    def test_an_unknown_architecture(self, tmp_path: Path) -> None:
        file = made.write(tmp_path / "x.ckpt")
        with pytest.raises(WeightsError, match=r"no transformer of DINO's sizes .* --backbone"):
            importing.read(str(file))

    @pytest.mark.parametrize(
        ("document", "expected"),
        [
            ([1, 2], "holds no state_dict"),
            ({"state_dict": [1]}, "holds no state_dict"),
            ({"state_dict": {}}, r"lacks net\.cluster1\.0\.weight"),
            ({"state_dict": {"net.cluster1.0.weight": 3}}, "is no plain tensor"),
        ],
    )
    def test_other_documents(self, tmp_path: Path, document: Any, expected: str) -> None:
        (tmp_path / "x.ckpt").write_bytes(made.saved(document))
        with pytest.raises(WeightsError, match=expected):
            importing.read(str(tmp_path / "x.ckpt"))

    def test_many_views_of_one_storage_do_not_fill_the_memory(self, tmp_path: Path) -> None:
        whole = torch.zeros(1000)
        state = OrderedDict((f"net.model.{number}", whole.view(10, 100)) for number in range(100))
        (tmp_path / "x.ckpt").write_bytes(made.saved({"state_dict": state}))
        with pytest.raises(WeightsError, match="its tensors are larger than the file"):
            importing.read(str(tmp_path / "x.ckpt"))

    def test_nothing_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"none\.ckpt cannot be read"):
            importing.read(str(tmp_path / "none.ckpt"))


class TestSetting:
    def test_is_found_in_what_holds_itself(self) -> None:
        loop: list[Any] = [{"other": 1}]
        loop.append(loop)
        assert importing.setting(loop, "dino_feat_type") is importing.ABSENT
        loop.append(({"dino_feat_type": "KK"},))
        assert importing.setting(loop, "dino_feat_type") == "KK"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("published") / "model.ckpt")


class TestKeep:
    def test_again_changes_nothing(self, file: Path, tmp_path: Path) -> None:
        workspace = Workspace.create(str(tmp_path / "ws"))
        first = importing.keep(workspace, importing.read(str(file), made.PICO))
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ws").rglob("*.*")}
        assert importing.keep(workspace, importing.read(str(file), made.PICO)) == first
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_keys_are_of_the_content(self, file: Path, tmp_path: Path) -> None:
        workspace = Workspace.create(str(tmp_path / "ws"))
        found = importing.keep(workspace, importing.read(str(file), made.PICO))
        again = made.write(tmp_path / "renamed.ckpt", lr=99)
        same = importing.keep(workspace, importing.read(str(again), made.PICO))
        assert same.keys == found.keys
        other = made.write(tmp_path / "other.ckpt", made.state_dict(seed=1))
        differs = importing.keep(workspace, importing.read(str(other), made.PICO))
        assert differs.keys["head"] != found.keys["head"]
        assert differs.keys["clusters"] != found.keys["clusters"]

    def test_manifests_say_where_it_came_from_and_no_more(self, file: Path, tmp_path: Path) -> None:
        workspace = Workspace.create(str(tmp_path / "ws"))
        checkpoint = importing.read(str(file), made.PICO)
        found = importing.keep(workspace, checkpoint)
        for stage, place in (("head", "heads"), ("clusters", "clusters")):
            manifest = workspace.folder(place, found.keys[stage]).manifest()
            assert manifest["imported"] == {
                "file": "model.ckpt", "digest": checkpoint.source["digest"],
            }  # fmt: skip
        stored = b"".join(path.read_bytes() for path in (tmp_path / "ws").rglob("*.json"))
        assert b"secret-project" not in stored
        assert str(file.parent).encode() not in stored

    def test_of_another_backbone(self, file: Path, tmp_path: Path) -> None:
        workspace = Workspace.create(str(tmp_path / "ws"))
        with pytest.raises(WeightsError, match=r"model\.ckpt .* give weights of this very"):
            importing.keep(workspace, importing.read(str(file), TINY))
        with pytest.raises(OptionError, match="'vit_none' is not a timm model"):
            importing.keep(workspace, importing.read(str(file), "vit_none"))


class TestTaxonomy:
    def taxonomy(self, folder: Path, count: int) -> str:
        names = [f"class {letter}" for letter in "abcdefg"[:count]]
        (folder / "t.json").write_text(json.dumps({"name": "t", "classes": names}))
        return str(folder / "t.json")

    def test_names_the_clusters_by_the_probe(self, tmp_path: Path) -> None:
        state = made.state_dict()
        order = [3, 1, 4, 0, 2]
        probe = 9 * torch.eye(made.CLASSES, made.CODE_SIZE)
        state["linear_probe.weight"] = probe[:, :, None, None]
        away = -probe.sum(0, keepdim=True)
        state["cluster_probe.clusters"] = torch.cat([probe[order], away, away])
        file = made.write(tmp_path / "x.ckpt", state)
        found = importing.read(str(file), made.PICO, self.taxonomy(tmp_path, made.CLASSES)).names
        named = [f"class {'abcde'[number]}" for number in order]
        assert found == [*named, "cluster 5", "cluster 6"]

    def test_of_another_number_of_classes(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match=r"has 4 classes, the linear probe of .* 5"):
            importing.read(str(file), made.PICO, self.taxonomy(tmp_path, 4))

    def test_without_a_probe(self, tmp_path: Path) -> None:
        state = made.state_dict()
        del state["linear_probe.weight"], state["linear_probe.bias"]
        file = made.write(tmp_path / "x.ckpt", state)
        with pytest.raises(OptionError, match="has none; leave it out"):
            importing.read(str(file), made.PICO, self.taxonomy(tmp_path, 5))
