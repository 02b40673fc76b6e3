"""The demo on its bundled backbone: offline, and telling so."""

import json
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.cli.main import main
from flows.demo import demo_corpus
from flows.runs.settings import built
from stego_core.backbone.vit import bare_model, freeze, load_weights
from tasks.features import backbones, hub
from tasks.pretrain import stage as pretrain
from tasks.storage.storage import Storage

ROOT = Path(__file__).resolve().parents[3]
MEGABYTES = 10


class TestBundledBackbone:
    def test_is_small(self) -> None:
        file = ROOT / "tasks" / "features" / "weights" / backbones.BUNDLED_FILE
        assert file.stat().st_size <= MEGABYTES * 10**6

    def test_fits_its_architecture_and_is_trained(self) -> None:
        vit = bare_model(backbones.BUNDLED_BACKBONE)
        before = {name: value.clone() for name, value in vit.state_dict().items()}
        load_weights(vit, backbones.bundled_weights())
        moved = [not torch.equal(before[name], value) for name, value in vit.state_dict().items()]
        assert sum(moved) > 0.9 * len(moved)
        assert all(value.isfinite().all() for value in vit.state_dict().values())

    def test_its_recipe_is_one(self) -> None:
        """What docs/notes/pretraining.md says was run is still what the command takes."""
        document = tomllib.loads((ROOT / "infra/backbone/scenes.toml").read_text())
        options = built("pretrain", document["pretrain"])
        assert options.backbone == backbones.BUNDLED_BACKBONE
        options.check(freeze(bare_model(options.backbone), None, "cpu").patch)
        assert pretrain.recipe_of(options, "cpu").steps == options.steps

    @pytest.mark.parametrize("weights", ["bundled", "untrained"])
    def test_is_a_choice_of_every_run(self, weights: str, tmp_path: Path) -> None:
        from tasks.workspace.workspace import Workspace

        place = Workspace.create(str(tmp_path / "ws"))
        spec = backbones.fetch_backbone(place, backbones.BUNDLED_BACKBONE, weights)
        frozen = backbones.load_backbone(place.storage, spec, "cpu")
        stored = frozen.model.state_dict()["blocks.0.attn.qkv.weight"]
        trained = backbones.bundled_weights()["blocks.0.attn.qkv.weight"]
        assert torch.equal(stored, trained) == (weights == "bundled")
        assert weights in spec.note


class TestChosen:
    @pytest.mark.parametrize("there", [False, True])
    def test_dino_where_it_can_be_had(
        self, there: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(hub, "seems_cached", lambda _: False)
        monkeypatch.setattr(hub, "answers", lambda _: there)
        choice = demo_corpus.chosen(offline=False)
        assert (choice.backbone == demo_corpus.DINO) == there
        assert (choice.weights == backbones.BUNDLED) == (not there)
        assert choice.backbone in choice.note
        features = demo_corpus.sections(Storage.at(str(tmp_path)), choice)["features"]
        assert (features.backbone, features.weights) == choice[:2]

    def test_offline_asks_no_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def asked(_: str) -> bool:
            raise AssertionError

        monkeypatch.setattr(hub, "available", asked)
        assert demo_corpus.chosen(offline=True).weights == backbones.BUNDLED


class TestCorpus:
    def test_the_same_scenes_however_many(self, tmp_path: Path) -> None:
        for name, count in (("few", 2), ("more", 3)):
            demo_corpus.main([str(tmp_path / name), str(count), "7"])
        few, more = (
            {
                str(p.relative_to(tmp_path / name)): p.read_bytes()
                for p in (tmp_path / name).rglob("*.png")
            }
            for name in ("few", "more")
        )
        assert len(few) == 2 * demo_corpus.RENDERINGS
        assert few.items() < more.items()

    def test_goes_on_where_it_was_stopped(self, tmp_path: Path) -> None:
        demo_corpus.write_corpus(Storage.at(str(tmp_path)), 2, 7)
        (tmp_path / "labels/scene-0001.png").unlink()
        before = (tmp_path / "images/scene-0000.png").stat().st_mtime_ns
        demo_corpus.write_corpus(Storage.at(str(tmp_path)), 2, 7)
        assert (tmp_path / "labels/scene-0001.png").exists()
        assert (tmp_path / "images/scene-0000.png").stat().st_mtime_ns == before


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("prefect")
def test_runs_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    look_up: Callable[..., Any] = socket.getaddrinfo

    def local_only(host: Any, *arguments: Any, **named: Any) -> Any:
        if host not in {"127.0.0.1", "localhost", None}:
            asked.append(host)
            raise OSError("no network in this test")
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    monkeypatch.setattr(demo_corpus, "SIDE", 96)  # shorter than what a person sees
    monkeypatch.setattr(demo_corpus, "STEPS", 20)
    workspace = tmp_path / "ws"
    main(
        ["demo", "--offline", "--workspace", str(workspace), "--scenes", "32", "--executor", "loop"]
    )
    said = " ".join("".join(capfd.readouterr()).split())
    assert asked == []
    assert said.count("bundled, trained by `stego pretrain`") == 2
    main(["status", "--workspace", str(workspace), "--json"])
    document = json.loads(capfd.readouterr().out)
    assert document["backbone"]["note"] == "bundled, trained on generated scenes"
    assert document["counts"]["masks"] == 32
    assert document["scores"]["scenes"]["miou"] > 0
