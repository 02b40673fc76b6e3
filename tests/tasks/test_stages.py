"""Stages on arrays small enough to count by hand, without Prefect or Dask."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stego_core.clustering import stability
from stego_core.errors import CapacityError, WorkspaceError
from stego_core.head.head import IdentityHead, MeanShiftHead
from stego_core.head.mean_shift import TRAINING, mean_shift, sampling_weights
from tasks.clusters import stage as clusters
from tasks.clusters.code_sample import sample_codes
from tasks.corpus import listing
from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.engine.progress import Event, listening
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.features import backbones, image_sample
from tasks.features import stage as features
from tasks.features.rows import FeatureRows, PatchCache
from tasks.head import heads
from tasks.head import stage as head
from tasks.head.mean_shift_reader import ShiftedImages
from tasks.neighbors import stage as neighbors
from tasks.options import (
    ClustersOptions,
    ComputeOptions,
    CorpusOptions,
    FeaturesOptions,
    HeadOptions,
    NeighborsOptions,
)
from tasks.workspace import arrays, tables
from tasks.workspace.summary import class_count
from tasks.workspace.workspace import Workspace

IMAGES, NEW = 9, 4
OPTIONS = FeaturesOptions(
    backbone="vit_tiny_patch16_224", weights="untrained", layer=0, crop_size=64
)


LOOP = ComputeOptions(executor="loop")


def compute(stage: Stage | None) -> Stage:
    """Every shard of a stage, in a plain loop."""
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


def index(workspace: Workspace, dump: str, folder: Path) -> None:
    stage = corpus.plan(workspace, dump, CorpusOptions(images=str(folder / "images")))
    corpus.finish(workspace, compute(stage), 0.0, 1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path]) -> FeatureRows:
    """Features of two dumps."""
    folder = tmp_path_factory.mktemp("stages")
    workspace = Workspace.create(str(folder / "ws"))
    index(workspace, "first", make_corpus(folder / "a", IMAGES, size=(64, 80)))
    index(workspace, "second", make_corpus(folder / "b", NEW, first=50, size=(64, 80)))
    spec = backbones.fetch_backbone(workspace, OPTIONS.backbone, "untrained", OPTIONS.layer)
    for dump in ("first", "second"):
        compute(features.plan(workspace, dump, OPTIONS, spec, "cpu")).finish(0.0, 1)
    return FeatureRows(workspace, features.features_key(OPTIONS, spec), ("first", "second"))


class TestFeatures:
    def test_shapes(self, rows: FeatureRows) -> None:
        assert rows.counts() == [5 * IMAGES, 5 * NEW]
        assert rows.shape() == (4, 4, 192)
        assert rows.valid().all()

    def test_pooled_vectors_belong_to_their_patches(self, rows: FeatureRows) -> None:
        every = np.arange(rows.total)
        mean = rows.read("patches", every).astype(np.float64).mean(axis=(1, 2))
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        np.testing.assert_allclose(rows.read("pooled", every), expected, atol=1e-3)

    def test_global_rows_cross_dumps_in_any_order(self, rows: FeatureRows) -> None:
        wanted = np.array([46, 0, 44, 64, 45, 0])
        whole = np.concatenate([part for _, part in rows.blocks("pooled", 7)])
        np.testing.assert_array_equal(rows.read("pooled", wanted), whole[wanted])
        with pytest.raises(WorkspaceError, match="not all in"):
            rows.read("pooled", np.array([65]))

    @pytest.mark.parametrize("name", ["patches", "pooled", "valid"])
    def test_no_rows_have_the_shape_and_type_of_some(self, rows: FeatureRows, name: str) -> None:
        some, none = (rows.read(name, np.arange(count)) for count in (3, 0))
        assert (none.shape, none.dtype) == ((0, *some.shape[1:]), some.dtype)

    def test_streamed_and_held_patches_are_equal(self, rows: FeatureRows) -> None:
        wanted = np.array([3, 60, 3, 20])
        held, streamed = PatchCache(rows, 1024), PatchCache(rows, 0)
        assert held.patches is not None
        assert streamed.patches is None
        np.testing.assert_array_equal(held(wanted), streamed(wanted))

    def test_shifted_patches_are_the_mean_shift_of_the_stored_ones(self, rows: FeatureRows) -> None:
        """Asked for by two threads at once and again, each row is shifted once."""
        wanted = np.array([3, 60, 3, 20, 64])
        stored = torch.from_numpy(rows.read("patches", wanted).astype(np.float32))
        moved = mean_shift(stored)
        held, streamed = (ShiftedImages(PatchCache(rows, mib)) for mib in (1024, 0))
        with ThreadPoolExecutor(4) as pool:
            found = [pool.submit(held, wanted) for _ in range(8)]
        for images in [streamed(wanted), held(wanted), *(each.result() for each in found)]:
            np.testing.assert_array_equal(images.patches, moved.numpy().astype(np.float16))
            np.testing.assert_array_equal(images.weights, sampling_weights(moved, TRAINING).numpy())

    def test_weights_count_by_content(self, rows: FeatureRows) -> None:
        spec = rows.backbone()
        elsewhere = OPTIONS.model_copy(update={"weights": "/elsewhere.pth"})
        assert features.features_key(elsewhere, spec) == rows.key
        deeper = OPTIONS.model_copy(update={"crops": "whole"})
        assert features.features_key(deeper, spec) != rows.key


class TestDraw:
    def test_a_dump_never_changes_the_draw_before_it(self, rows: FeatureRows) -> None:
        workspace = rows.workspace
        assert len(image_sample.sampled_rows(workspace, "first", 100)) == IMAGES
        assert len(image_sample.sampled_rows(workspace, "first", 5)) == 5
        of_second = image_sample.sampled_rows(workspace, "second", 5)
        hashes = {
            (dump, row): value
            for dump in ("first", "second")
            for row, value in enumerate(
                image_sample.id_hashes(
                    dump,
                    [i for part in IndexReader(workspace, dump).column("image_id") for i in part],
                )
            )
        }
        lowest = sorted(hashes, key=lambda key: hashes[key])[:5]
        assert [row for dump, row in sorted(lowest) if dump == "second"] == of_second.tolist()


class TestNeighbors:
    def test_table_equals_all_pairs(self, rows: FeatureRows) -> None:
        options = NeighborsOptions(k=6)
        for dump in rows.dumps:
            compute(neighbors.plan(rows, dump, options, "cpu")).finish(0.0, 1)
        table = head.neighbor_ids(rows, neighbors.neighbors_key(rows, options))
        vectors = rows.read("pooled", np.arange(rows.total)).astype(np.float64)
        cosine = vectors @ vectors.T
        np.testing.assert_array_equal(table[:, 0], np.arange(rows.total))
        for row, found in enumerate(table):
            best = np.sort(np.delete(cosine[row], row))[::-1][:5]
            np.testing.assert_allclose(cosine[row, found[1:]], best, atol=1e-5)

    def test_fewer_images_than_k(self, rows: FeatureRows) -> None:
        with pytest.raises(CapacityError, match="13 usable images are fewer than the 14"):
            neighbors.plan(rows, "first", NeighborsOptions(k=14), "cpu")


class TestHead:
    @pytest.mark.parametrize("recipe", ["mean-shift", "stego"])
    def test_resumed_training_ends_with_the_same_bytes(
        self, rows: FeatureRows, monkeypatch: pytest.MonkeyPatch, recipe: str
    ) -> None:
        options = NeighborsOptions(k=6)
        for dump in rows.dumps:
            if stage := neighbors.plan(rows, dump, options, "cpu"):
                compute(stage).finish(0.0, 1)
        key = neighbors.neighbors_key(rows, options)
        monkeypatch.setattr(head, "CHECKPOINT_STEPS", 4)
        planned = head.plan(rows, key, HeadOptions(recipe=recipe, steps=10, batch=4), LOOP)
        digest = compute(planned).finish_single(0.0, 1)["digest"]
        place = Path(rows.workspace.storage.uri) / planned.folder.path
        for name in ("head.safetensors", "manifest.json", "records/000000.json"):
            (place / name).unlink()
        data = head.training_set(rows, key, recipe, 1024)
        state, curve = head.resumed(planned.work, head.recipe_of(planned.work.options), data)
        assert (state.step, len(curve)) == (8, 8)
        assert compute(planned).finish_single(0.0, 1)["digest"] == digest

    def test_a_finished_head_is_not_trained_again(self, rows: FeatureRows) -> None:
        key, options = neighbors.neighbors_key(rows, NeighborsOptions(k=6)), HeadOptions(steps=3)
        compute(head.plan(rows, key, options, LOOP)).finish_single(0.0, 1)
        assert head.plan(rows, key, options, LOOP) is None

    def test_progress_is_reported_while_it_trains_and_at_its_end(self, rows: FeatureRows) -> None:
        key = neighbors.neighbors_key(rows, NeighborsOptions(k=6))
        planned = head.plan(rows, key, HeadOptions(steps=41, batch=2), LOOP)
        heard: list[Event] = []
        with listening(heard.append):
            compute(planned)
        assert [event.done for event in heard] == [20, 40, 41]
        assert {event.title for event in heard} == {planned.title}


def finished(rows: FeatureRows, options: ClustersOptions) -> dict[str, Any]:
    """The manifest of clusters made from the codes that are there."""
    restarts = compute(clusters.plan_restarts(rows, heads.IDENTITY, options))
    clusters.finish_restarts(restarts, 0.0, options.restarts)
    return compute(clusters.plan(rows, heads.IDENTITY, options)).finish_single(0.0, 1)


class TestClusters:
    def test_lowest_inertia_wins(self, rows: FeatureRows) -> None:
        options = ClustersOptions(classes=3, restarts=4)
        compute(clusters.plan_codes(rows, heads.IDENTITY, options, "cpu")).finish(0.0, 1)
        manifest = finished(rows, options)
        assert len(manifest["inertias"]) == 4
        assert manifest["inertias"][manifest["best"]] == min(manifest["inertias"])
        assert manifest["inertia"] <= min(manifest["inertias"]) + 1e-6

    def test_the_codes_say_how_many_classes(self, rows: FeatureRows) -> None:
        options = ClustersOptions(classes="auto", max_classes=5, restarts=2)
        compute(clusters.plan_codes(rows, heads.IDENTITY, options, "cpu")).finish(0.0, 1)
        planned = clusters.plan_stability(rows, heads.IDENTITY, options)
        found = clusters.finish_stability(compute(planned), 0.0, 4)
        curve = dict(found["curve"])
        assert list(curve) == [2, 3, 4, 5]
        assert found["classes"] == stability.proposed(curve)
        assert clusters.plan_stability(rows, heads.IDENTITY, options) is None
        manifest = finished(rows, options)
        assert manifest["classes"] == found["classes"]
        assert manifest["stability"] == found["curve"]
        key = clusters.clusters_key(rows, heads.IDENTITY, options)
        stored = tables.read_tensors(
            rows.workspace.storage, f"clusters/{key}/centroids.safetensors"
        )
        assert len(stored["centroids"]) == found["classes"]

    def test_older_clusters_say_their_number_among_the_options(self) -> None:
        assert class_count({"options": {"classes": 5}}) == 5
        assert class_count({"options": {"classes": "auto"}, "classes": 3}) == 3

    def test_a_number_of_classes_asks_nothing(self, rows: FeatureRows) -> None:
        options = ClustersOptions(classes=3)
        assert clusters.plan_stability(rows, heads.IDENTITY, options) is None

    def test_codes_are_drawn_per_row(self, rows: FeatureRows) -> None:
        options = ClustersOptions(classes=3, max_tokens=256)
        stage = compute(clusters.plan_codes(rows, heads.IDENTITY, options, "cpu"))
        codes = arrays.read_rows(rows.workspace.storage, stage.folder.path, "codes", slice(None))
        assert codes.shape == (rows.total * (256 // rows.total), 192)
        np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)

    @pytest.mark.parametrize("shifted", [False, True])
    def test_things_come_alike_after_mean_shift(self, shifted: bool) -> None:
        """An image of 81 patches of one thing, 9 of another: 9 to 1, or 1 to 1."""
        patches = torch.eye(2)[(torch.arange(90) < 81).long()].reshape(9, 10, 2)
        head = MeanShiftHead(IdentityHead()) if shifted else IdentityHead()
        tokens = 4000 if shifted else 60
        codes = sample_codes(head, patches, tokens, np.random.default_rng(0))
        assert codes.shape == (tokens, 2)
        share = (codes[:, 1] > 0.5).mean()
        assert share == pytest.approx(0.5 if shifted else 0.9, abs=0.03 if shifted else 0.08)


class TestListing:
    def test_ids_stay_unique(self, tmp_path: Path) -> None:
        from tasks.storage.storage import Storage

        for name in ("a.jpg", "a.png", "b/a.jpg", "B.png", "notes.txt", ".hidden.jpg"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        found = listing.list_images(Storage.at(str(tmp_path)), None).columns
        assert dict(zip(found["path"], found["image_id"], strict=True)) == {
            "B.png": "B", "a.jpg": "a.jpg", "a.png": "a.png", "b/a.jpg": "b/a",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("uri", "name"),
        [("imgs/train", "train"), ("s3://b/x y/", "x-y"), ("/", "images"), ("../..", "images")],
    )
    def test_default_dump(self, uri: str, name: str) -> None:
        assert listing.default_dump(uri) == name
