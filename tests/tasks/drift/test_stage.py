"""Drift of stored features and masks: small arrays, and once the real stages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stego_core.errors import WorkspaceError
from stego_core.scores.drift import FEATURES_THRESHOLD, SHARES_THRESHOLD, Moments, feature_drift
from tasks.clusters import stage as clusters
from tasks.corpus import stage as corpus
from tasks.drift import stage as drift
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.features import backbones
from tasks.features import stage as features
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.masks import stage as masks
from tasks.masks.segmenter import masks_key
from tasks.options import ClustersOptions, CorpusOptions, FeaturesOptions, MasksOptions
from tasks.workspace import arrays
from tasks.workspace.arrays import Layout
from tasks.workspace.workspace import Workspace

CROPS, CHANNELS = 5, 6
FEATURES, MASKS = "f" * 16, "a" * 16
STREET, FOREST = [900, 100, 0], [0, 50, 950]

Vectors = NDArray[np.float32]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path))


def image_vectors(seed: int, images: int, shift: float = 0.0) -> Vectors:
    """(images, crops, C): crops scatter around their image's vector."""
    random = np.random.default_rng(seed)
    own = random.normal(shift, 1, (images, 1, CHANNELS))
    return np.asarray(own + random.normal(0, 0.1, (images, CROPS, CHANNELS)), np.float32)


def store_features(
    workspace: Workspace, dump: str, vectors: Vectors, unreadable: tuple[int, ...] = ()
) -> None:
    """Finished features of a dump, of which `drift` reads `pooled` and `valid`."""
    path, rows = f"features/{FEATURES}/{dump}.zarr", vectors.shape[0] * CROPS
    layouts = {
        "pooled": Layout((rows, CHANNELS), "float32", 4 * CROPS, 4 * CROPS),
        "valid": Layout((rows,), "bool", 4 * CROPS, 4 * CROPS),
    }
    arrays.create(workspace.storage, path, layouts)
    valid = np.repeat(~np.isin(np.arange(len(vectors)), unreadable), CROPS)
    for shard in range(arrays.shard_count(len(vectors), 4)):
        own = slice(*arrays.shard_span(shard, 4 * CROPS, rows))
        values = vectors.reshape(rows, CHANNELS)[own]
        arrays.write_shard(workspace.storage, path, "pooled", shard, values)
        arrays.write_shard(workspace.storage, path, "valid", shard, valid[own])
    manifest = {"rows": rows, "crops": CROPS, "index": f"index of {dump}"}
    workspace.folder("features", FEATURES, f"{dump}.zarr").finish(manifest)


def store_masks(workspace: Workspace, dump: str, images: int, pixels: list[int]) -> None:
    manifest = {"masks": images, "pixels": pixels}
    workspace.folder("masks", MASKS, dump).finish(manifest)


def store(workspace: Workspace, dump: str, vectors: Vectors, pixels: list[int]) -> None:
    store_features(workspace, dump, vectors)
    store_masks(workspace, dump, len(vectors), pixels)


def measured(workspace: Workspace, dump: str, *training: str) -> dict[str, Any]:
    return drift.measure(workspace, dump, FEATURES, training or ("first", "second"), MASKS)


class TestMeasure:
    @pytest.fixture(autouse=True)
    def training(self, workspace: Workspace) -> None:
        store(workspace, "first", image_vectors(1, 30), STREET)
        store(workspace, "second", image_vectors(2, 21), STREET)

    def test_the_same_kind(self, workspace: Workspace) -> None:
        store(workspace, "night", image_vectors(3, 20), [910, 90, 0])
        found = measured(workspace, "night")
        assert found["judged"]
        assert not found["drifted"]
        assert abs(found["features"]) < FEATURES_THRESHOLD / 2
        assert 0 < found["shares"] < SHARES_THRESHOLD / 3
        assert found["images"] == 20

    @pytest.mark.parametrize(
        ("shift", "pixels", "drifted"),
        [(0.0, STREET, False), (3.0, STREET, True), (0.0, FOREST, True), (3.0, FOREST, True)],
    )
    def test_either_number_suffices(
        self, workspace: Workspace, shift: float, pixels: list[int], drifted: bool
    ) -> None:
        store(workspace, "night", image_vectors(3, 20, shift), pixels)
        found = measured(workspace, "night")
        assert found["drifted"] is drifted
        assert (found["features"] > FEATURES_THRESHOLD) is (shift > 0)
        assert (found["shares"] > SHARES_THRESHOLD) is (pixels is FOREST)

    def test_features_are_those_of_image_means(self, workspace: Workspace) -> None:
        store(workspace, "night", image_vectors(3, 20, 1.0), STREET)
        means = [image_vectors(seed, n).mean(axis=1) for seed, n in ((1, 30), (2, 21))]
        expected = feature_drift(
            Moments.of(np.concatenate(means)),
            Moments.of(image_vectors(3, 20, 1.0).mean(axis=1)),
        )
        assert measured(workspace, "night")["features"] == round(expected, 4)

    def test_blocks_do_not_matter(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store(workspace, "night", image_vectors(3, 20), STREET)
        rows = FeatureRows(workspace, FEATURES, ("first", "night", "second"))
        whole = drift.image_moments(rows)
        monkeypatch.setattr(drift, "BLOCK_IMAGES", 7)
        cut = drift.image_moments(rows)
        assert whole.count == cut.count == 71
        np.testing.assert_allclose(cut.scatter, whole.scatter, atol=1e-9)

    def test_unreadable_images_do_not_count(self, workspace: Workspace) -> None:
        vectors = image_vectors(3, 20)
        store(workspace, "clean", vectors[2:], STREET)
        vectors[:2] = 0
        store_features(workspace, "night", vectors, unreadable=(0, 1))
        store_masks(workspace, "night", 18, STREET)
        assert measured(workspace, "night")["features"] == measured(workspace, "clean")["features"]
        assert measured(workspace, "night")["images"] == 18

    def test_few_images_are_not_judged(self, workspace: Workspace) -> None:
        store(workspace, "night", image_vectors(3, 9, 5.0), FOREST)
        found = measured(workspace, "night")
        assert found["features"] > FEATURES_THRESHOLD
        assert not found["judged"]
        assert not found["drifted"]

    def test_no_usable_image(self, workspace: Workspace) -> None:
        store_features(workspace, "night", image_vectors(3, 2), unreadable=(0, 1))
        store_masks(workspace, "night", 0, [0, 0, 0])
        found = measured(workspace, "night")
        assert (found["features"], found["shares"], found["images"]) == (None, None, 0)
        assert not found["drifted"]

    def test_a_dump_with_no_image_drawn(self, workspace: Workspace) -> None:
        store_features(workspace, "night", image_vectors(3, 0))
        store_masks(workspace, "night", 40, FOREST)
        found = measured(workspace, "night")
        assert found["features"] is None
        assert (found["images"], found["drifted"]) == (40, True)

    def test_a_training_dump_has_none(self, workspace: Workspace) -> None:
        found = measured(workspace, "second")
        assert found["training"]
        assert (found["features"], found["shares"], found["drifted"]) == (None, None, False)
        assert workspace.storage.names("drift") == []

    def test_unfinished_inputs(self, workspace: Workspace) -> None:
        with pytest.raises(WorkspaceError, match="run the stage `stego features` first"):
            measured(workspace, "night")
        store_features(workspace, "night", image_vectors(3, 20))
        with pytest.raises(WorkspaceError, match="run the stage `stego masks` first"):
            measured(workspace, "night")


class TestKept:
    def test_computed_once(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        store(workspace, "first", image_vectors(1, 30), STREET)
        for dump in ("night", "next"):
            store(workspace, dump, image_vectors(3, 20), STREET)
        found = measured(workspace, "night", "first")
        read: list[tuple[str, ...]] = []
        original = drift.image_moments

        def counted(rows: FeatureRows) -> Moments:
            read.append(rows.dumps)
            return original(rows)

        monkeypatch.setattr(drift, "image_moments", counted)
        assert measured(workspace, "night", "first") == json.loads(json.dumps(found))
        assert read == []
        again = measured(workspace, "next", "first")
        assert read == [("next",)]
        assert (again["features"], again["shares"]) == (found["features"], found["shares"])

    def test_kept_moments_are_the_computed_ones(self, workspace: Workspace) -> None:
        store(workspace, "first", image_vectors(1, 30), STREET)
        rows = FeatureRows(workspace, FEATURES, ("first",))
        computed, kept = drift.training_moments(rows), drift.training_moments(rows)
        assert kept.count == computed.count == 30
        np.testing.assert_array_equal(kept.mean, computed.mean)
        np.testing.assert_array_equal(kept.scatter, computed.scatter)

    def test_a_training_dump_without_masks(self, workspace: Workspace) -> None:
        store(workspace, "first", image_vectors(1, 30), STREET)
        store_features(workspace, "second", image_vectors(2, 30))
        store(workspace, "night", image_vectors(3, 20), FOREST)
        found = measured(workspace, "night", "second")
        assert found["shares"] is None
        assert not found["drifted"]
        both = measured(workspace, "night", "second", "first")
        assert both["inputs"]["masked"] == ["first"]
        assert both["drifted"]
        store_masks(workspace, "second", 30, FOREST)  # later: another key, measured anew
        assert measured(workspace, "night", "second")["shares"] == 0


def test_after_the_real_stages(tmp_path: Path, make_corpus: Callable[..., Path]) -> None:
    """What the features and the masks stage leave behind is what drift reads."""
    workspace = Workspace.create(str(tmp_path / "ws"))
    options = FeaturesOptions(
        backbone="vit_tiny_patch16_224", weights="untrained", layer=0, crop_size=32
    )
    spec = backbones.fetch_backbone(workspace, options.backbone, "untrained", options.layer)

    def compute(stage: Stage | None) -> Stage:
        assert stage is not None
        list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
        return stage

    for dump, first in (("day", 0), ("night", 20)):
        folder = make_corpus(tmp_path / dump, 3, first, (64, 80))
        given = CorpusOptions(
            images=str(folder / "images"),
            labels=str(folder / "labels"),
            taxonomy=str(folder / "taxonomy.json"),
        )
        corpus.finish(workspace, compute(corpus.plan(workspace, dump, given)), 0.0, 1)
        compute(features.plan(workspace, dump, options, spec, "cpu")).finish(0.0, 1)
    key = features.features_key(options, spec)
    rows = FeatureRows(workspace, key, ("day",))
    chosen = ClustersOptions(classes=3, restarts=1, max_tokens=500)
    compute(clusters.plan_codes(rows, heads.IDENTITY, chosen, "cpu")).finish(0.0, 1)
    restarts = compute(clusters.plan_restarts(rows, heads.IDENTITY, chosen))
    clusters.finish_restarts(restarts, 0.0, 1)
    compute(clusters.plan(rows, heads.IDENTITY, chosen)).finish_single(0.0, 1)
    clusters_key = clusters.clusters_key(rows, heads.IDENTITY, chosen)
    mask_options = MasksOptions(resolution=64, crf_iterations=0)
    for dump in ("day", "night"):
        stage = compute(masks.plan(workspace, dump, clusters_key, mask_options, "cpu"))
        masks.finish(workspace, stage, 0.0, 1)
    found = drift.measure(workspace, "night", key, ["day"], masks_key(clusters_key, mask_options))
    assert found["images"] == 3
    assert found["features"] is not None
    assert 0 <= found["shares"] <= 1
    assert not found["judged"]
