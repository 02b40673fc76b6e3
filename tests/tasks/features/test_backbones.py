"""Weights files as they are found in the world, and what a backbone takes in memory."""

import argparse
from collections import namedtuple
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from stego_core.backbone.vit import bare_model
from stego_core.errors import CapacityError, OptionError, WeightsError
from tasks.features import backbones
from tasks.workspace.workspace import Workspace

PICO = backbones.BUNDLED_BACKBONE
MIB = 2**20
Free = namedtuple("Free", "available")


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return dict(bare_model(PICO, seed=3).state_dict())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


class TestFiles:
    def test_a_whole_checkpoint_of_dino(
        self, weights: dict[str, Tensor], workspace: Workspace, tmp_path: Path
    ) -> None:
        """Student, teacher, optimiser and the command line's arguments; the teacher is read."""
        teacher = {f"backbone.{name}": value for name, value in weights.items()}
        content = {
            "student": {f"module.backbone.{name}": 0 * value for name, value in weights.items()},
            "teacher": {**teacher, "head.mlp.0.weight": torch.ones(2, 2)},
            "optimizer": {"state": {0: {"step": 3}}},
            "epoch": 100,
            "args": argparse.Namespace(arch="vit_small", patch_size=8),
        }
        torch.save(content, tmp_path / "checkpoint.pth")
        found = backbones.fetch_backbone(workspace, PICO, str(tmp_path / "checkpoint.pth"))
        torch.save(weights, tmp_path / "plain.pth")
        assert (
            found.digest
            == backbones.fetch_backbone(workspace, PICO, str(tmp_path / "plain.pth")).digest
        )
        assert found.note == "checkpoint.pth"

    def test_code_is_not_executed(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return (Path.touch, (tmp_path / "executed",))

        torch.save({"teacher": {}, "args": Evil()}, tmp_path / "evil.pth")
        with pytest.raises(WeightsError, match="does not hold plain tensors"):
            backbones.weights_from_file(str(tmp_path / "evil.pth"))
        assert not (tmp_path / "executed").exists()


class TestMemory:
    def test_a_backbone_that_does_not_fit_is_refused_before_it_is_built(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: Free(64 * 2**30))
        monkeypatch.setattr(backbones.vit, "bare_model", lambda *_: pytest.fail("was built"))
        with pytest.raises(CapacityError, match=r"dinov3 needs about 75\.1 GiB .* 64\.0 GiB are"):
            backbones.fetch_backbone(workspace, "vit_7b_patch16_dinov3", "untrained")

    def test_grows_with_weights_and_with_tokens(self) -> None:
        small = backbones.BackboneSpec("vit_tiny_patch16_224", 0, "", 16, 192, "")
        held = sum(4 * value.numel() for value in bare_model(small.name).state_dict().values())
        assert backbones.backbone_memory(small, tokens=1) == 3 * held
        many = backbones.backbone_memory(small, tokens=10_000)
        assert many - held == 4 * 10_000 * (28 * 192 + 12 * 16**2)
        assert backbones.backbone_memory(small, tokens=1, beside=many) == held + many


class TestPositions:
    def test_of_dino_make_another_backbone(self, workspace: Workspace) -> None:
        timms, dinos = (
            backbones.fetch_backbone(workspace, PICO, "untrained", positions=code)
            for code in ("timm", "dino")
        )
        assert (timms.positions, dinos.positions) == ("timm", "dino")
        assert timms.digest != dinos.digest
        assert backbones.BackboneSpec(**dinos.document()) == dinos
        image = np.random.default_rng(0).integers(0, 256, (1, 88, 64, 3), np.uint8)
        one, other = (
            backbones.load_backbone(workspace.storage, spec, "cpu").features(image)
            for spec in (timms, dinos)
        )
        assert not np.allclose(one, other, atol=1e-4)

    def test_are_refused_where_none_are_learned(self, workspace: Workspace) -> None:
        with pytest.raises(OptionError, match="leave out --positions dino"):
            backbones.fetch_backbone(
                workspace, "vit_small_patch16_dinov3", "untrained", positions="dino"
            )
