"""A small trained head on images of which one has no label."""

from collections.abc import Callable
from pathlib import Path

import pytest
from two_dumps import compute

from tasks.corpus import stage as corpus
from tasks.features import backbones
from tasks.features import stage as features
from tasks.features.rows import FeatureRows
from tasks.head import stage as head
from tasks.neighbors import stage as neighbors
from tasks.options import (
    ComputeOptions,
    CorpusOptions,
    FeaturesOptions,
    HeadOptions,
    NeighborsOptions,
)
from tasks.workspace.workspace import Workspace

IMAGES, UNLABELLED = 4, 1
OPTIONS = FeaturesOptions(
    backbone="vit_tiny_patch16_224", weights="untrained", layer=0, crop_size=32
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    """Images s000 to s003 of which s001 has no label."""
    made = make_corpus(tmp_path_factory.mktemp("probes"), IMAGES, size=(50, 64))
    (made / f"labels/s{UNLABELLED:03d}.png").unlink()
    return made


@pytest.fixture(scope="session")
def rows(folder: Path) -> FeatureRows:
    """Features of five crops of each."""
    workspace = Workspace.create(str(folder / "ws"))
    options = CorpusOptions(
        images=str(folder / "images"),
        labels=str(folder / "labels"),
        taxonomy=str(folder / "taxonomy.json"),
    )
    corpus.finish(workspace, compute(corpus.plan(workspace, "train", options)), 0.0, 1)
    spec = backbones.fetch_backbone(workspace, OPTIONS.backbone, "untrained", OPTIONS.layer)
    compute(features.plan(workspace, "train", OPTIONS, spec, "cpu")).finish(0.0, 1)
    return FeatureRows(workspace, features.features_key(OPTIONS, spec), ("train",))


@pytest.fixture(scope="session")
def head_key(rows: FeatureRows) -> str:
    """Key of a head trained on them."""
    table, compute_options = NeighborsOptions(k=4), ComputeOptions(executor="loop")
    compute(neighbors.plan(rows, "train", table, "cpu")).finish(0.0, 1)
    key, options = neighbors.neighbors_key(rows, table), HeadOptions(steps=10, batch=3)
    compute(head.plan(rows, key, options, compute_options)).finish_single(0.0, 1)
    return head.head_key(rows, key, options)
