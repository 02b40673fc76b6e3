"""The linear probe fitted to pixels: whose labels it sees, and that it goes on where it stood."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stego_core.errors import InputError
from stego_core.images.geometry import square_labels, training_crops
from tasks.corpus import stage as corpus
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
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
from tasks.scores import paper_probe
from tasks.scores.paper_probe import LabelledRows
from tasks.workspace.workspace import Workspace

IMAGES, UNLABELLED = 4, 1
LOOP = ComputeOptions(executor="loop")
OPTIONS = FeaturesOptions(
    backbone="vit_tiny_patch16_224", weights="untrained", layer=0, crop_size=32
)


def compute(stage: Stage | None) -> Stage:
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> Path:
    """Images of which one has no label."""
    made = make_corpus(tmp_path_factory.mktemp("pixelprobe"), IMAGES, size=(50, 64))
    (made / f"labels/s{UNLABELLED:03d}.png").unlink()
    return made


@pytest.fixture(scope="module")
def rows(folder: Path) -> FeatureRows:
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


@pytest.fixture(scope="module")
def head_key(rows: FeatureRows) -> str:
    table = NeighborsOptions(k=4)
    compute(neighbors.plan(rows, "train", table, "cpu")).finish(0.0, 1)
    key, options = neighbors.neighbors_key(rows, table), HeadOptions(steps=10, batch=3)
    compute(head.plan(rows, key, options, LOOP)).finish_single(0.0, 1)
    return head.head_key(rows, key, options)


def test_labels_are_cut_like_the_crops(folder: Path, rows: FeatureRows) -> None:
    labelled = LabelledRows(rows)
    expected = [row for row in range(5 * IMAGES) if row // 5 != UNLABELLED]
    assert labelled.usable.tolist() == expected
    for row in (0, 13, 19):
        stored = np.asarray(Image.open(folder / f"labels/s{row // 5:03d}.png")).astype(np.int16)
        height, width = stored.shape
        h, w = height // 2, width // 2
        top, left = {
            0: (0, 0), 3: (height - h, width - w), 4: ((height - h) // 2, (width - w) // 2),
        }[row % 5]  # fmt: skip
        crop = square_labels(stored[top : top + h, left : left + w], 32)
        np.testing.assert_array_equal(labelled.label(row), np.where(crop == 255, -1, crop))
        image = np.asarray(Image.open(folder / f"images/s{row // 5:03d}.png"))
        assert training_crops(image, 32, five=True)[row % 5].shape[:2] == labelled.label(row).shape


def test_a_resumed_fit_ends_with_the_same_bytes(
    rows: FeatureRows, head_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_probe, "CHECKPOINT_STEPS", 4)
    planned = compute(paper_probe.plan(rows, head_key, 0, LOOP))
    assert planned.items == 10
    place = Path(rows.workspace.storage.uri) / planned.folder.path
    first = (place / "probe.safetensors").read_bytes()
    for name in ("probe.safetensors", "records/000000.json"):
        (place / name).unlink()
    assert sorted(path.name for path in (place / "checkpoints").iterdir()) == [
        "00000004.safetensors", "00000008.safetensors",
    ]  # fmt: skip
    compute(planned).finish(0.0, 1)
    assert (place / "probe.safetensors").read_bytes() == first
    assert paper_probe.plan(rows, head_key, 0, LOOP) is None
    assert paper_probe.probe_folder(rows, head_key, 1).path != planned.folder.path


def test_labels_that_nobody_trains_on(rows: FeatureRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureRows, "valid", lambda self: np.zeros(self.total, np.bool_))
    with pytest.raises(InputError, match="--no-linear-probe"):
        LabelledRows(rows)
