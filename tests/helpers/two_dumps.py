"""Features of two small dumps, made by the stages themselves in a plain loop."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.corpus import stage as corpus
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.features import backbones
from tasks.features import stage as features
from tasks.features.rows import FeatureRows
from tasks.options import (
    ComputeOptions,
    CorpusOptions,
    FeaturesOptions,
)
from tasks.workspace.workspace import Workspace

IMAGES, NEW = 9, 4
FEATURES = FeaturesOptions(
    backbone="vit_tiny_patch16_224", weights="untrained", layer=0, crop_size=64
)

LOOP = ComputeOptions(executor="loop")


def compute(stage: Stage | None) -> Stage:
    """Every shard of a stage, in a plain loop."""
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


def indexed(workspace: Workspace, dump: str, folder: Path) -> None:
    stage = corpus.plan(workspace, dump, CorpusOptions(images=str(folder / "images")))
    corpus.finish(workspace, compute(stage), 0.0, 1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> FeatureRows:
    """Features of two dumps."""
    folder = tmp_path_factory.mktemp("stages")
    workspace = Workspace.create(str(folder / "ws"))
    indexed(workspace, "first", make_corpus(folder / "a", IMAGES, size=(64, 80)))
    indexed(workspace, "second", make_corpus(folder / "b", NEW, first=50, size=(64, 80)))
    spec = backbones.fetch_backbone(workspace, FEATURES.backbone, "untrained", FEATURES.layer)
    for dump in ("first", "second"):
        compute(features.plan(workspace, dump, FEATURES, spec, "cpu")).finish(0.0, 1)
    return FeatureRows(workspace, features.features_key(FEATURES, spec), ("first", "second"))
