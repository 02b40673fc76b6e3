"""Clusters of sampled codes: how many, and which restart."""

from typing import Any

import numpy as np
import pytest
import torch
from two_dumps import compute

from stego_core.clustering.silhouette import Minimum, chosen
from stego_core.head.head import Head
from tasks.clusters import code_sample
from tasks.clusters import stage as clusters
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.masks.segmenter import segmenter_spec
from tasks.options import (
    ClustersOptions,
    MasksOptions,
)
from tasks.workspace import layout, tables


@pytest.fixture
def shifted_head(rows: FeatureRows) -> str:
    """The key of an untrained head that reads shifted features."""
    head = Head.create(rows.shape()[2], 8, torch.Generator().manual_seed(0))
    tensors = {name: value.detach().numpy() for name, value in head.state_dict().items()}
    folder = rows.workspace.folder(layout.head("shifted"))
    tables.write_tensors(rows.storage, f"{folder.path}/{layout.HEAD_FILE}", tensors)
    folder.finish({"options": {"recipe": "mean-shift"}})
    return "shifted"


def finished(rows: FeatureRows, options: ClustersOptions) -> dict[str, Any]:
    """The manifest of clusters made from the codes that are there."""
    restarts = compute(clusters.plan_restarts(rows, heads.IDENTITY, options))
    clusters.finish_restarts(restarts, 0.0, options.restarts)
    return compute(clusters.plan(rows, heads.IDENTITY, options)).finish_single(0.0, 1)


def test_lowest_inertia_wins(rows: FeatureRows) -> None:
    options = ClustersOptions(classes=3, restarts=4)
    compute(clusters.plan_codes(rows, heads.IDENTITY, options, "cpu")).finish(0.0, 1)
    manifest = finished(rows, options)
    assert len(manifest["inertias"]) == 4
    assert manifest["inertias"][manifest["best"]] == min(manifest["inertias"])
    assert manifest["inertia"] <= min(manifest["inertias"]) + 1e-6


def made_by_auto(rows: FeatureRows, max_classes: int) -> tuple[dict[str, Any], str]:
    """The manifest and the key of clusters that `auto` makes of the features."""
    options = ClustersOptions(classes="auto", max_classes=max_classes, restarts=2)
    compute(clusters.plan_codes(rows, heads.IDENTITY, options, "cpu")).finish(0.0, 1)
    return finished(rows, options), clusters.clusters_key(rows, heads.IDENTITY, options)


@pytest.mark.parametrize("most", [2, 5])
def test_auto_makes_as_many_clusters_as_are_allowed(
    rows: FeatureRows, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    manifest, key = made_by_auto(rows, most)
    assert manifest["classes"] == most
    stored = tables.read_tensors(rows.storage, f"clusters/{key}/centroids.safetensors")
    assert len(stored["centroids"]) == most
    assert not caplog.records


def test_auto_makes_no_more_clusters_than_there_are_crops_and_warns(
    rows: FeatureRows, caplog: pytest.LogCaptureFixture
) -> None:
    usable = int(rows.valid().sum())
    manifest, key = made_by_auto(rows, 255)
    assert manifest["classes"] == usable
    stored = tables.read_tensors(rows.storage, f"clusters/{key}/centroids.safetensors")
    assert len(stored["centroids"]) == usable
    assert f"{usable} clusters are made and not 255 (--max-classes)" in caplog.text


def test_a_given_number_is_taken_as_it_is(rows: FeatureRows) -> None:
    options = ClustersOptions(classes=7, max_classes=3)
    assert clusters.class_count(rows, options) == 7


def vector_depth(head: torch.nn.Module, rows: FeatureRows) -> int:
    """Depth of the vectors that a head makes of these rows."""
    return int(head(torch.zeros(1, 2, 2, rows.shape()[2])).shape[-1])


def test_of_a_head_that_reads_shifted_features_the_best_separated_minimum_is_kept(
    rows: FeatureRows, shifted_head: str
) -> None:
    options = ClustersOptions(classes=3, restarts=2)
    compute(clusters.plan_codes(rows, shifted_head, options, "cpu")).finish(0.0, 1)
    restarts = compute(clusters.plan_restarts(rows, shifted_head, options))
    assert restarts.shards == 2 * len(code_sample.SPACES)
    clusters.finish_restarts(restarts, 0.0, restarts.shards)
    manifest = compute(clusters.plan(rows, shifted_head, options)).finish_single(0.0, 1)
    minima = [Minimum(**minimum) for minimum in manifest["minima"]]
    assert [minimum.space for minimum in minima] == [
        space for space in code_sample.SPACES for _ in range(2)
    ]
    assert manifest["best"] == chosen(minima)
    codes = layout.codes(layout.clusters(clusters.clusters_key(rows, shifted_head, options)))
    judged = code_sample.judged_tokens(rows.storage, codes, options.seed)
    images, tokens = np.unique(judged.images, return_counts=True)
    assert images.tolist() == sorted({row // rows.crops() for row in np.flatnonzero(rows.valid())})
    assert tokens.sum() == len(judged.codes)
    assert manifest["space"] == minima[manifest["best"]].space
    key = clusters.clusters_key(rows, shifted_head, options)
    head = heads.load_space(rows.storage, shifted_head, manifest["space"], "cpu")
    depth = vector_depth(head, rows)
    spec = segmenter_spec(rows.workspace, key, MasksOptions())
    assert spec.centroids().shape == (3, depth)
    assert vector_depth(spec.head("cpu"), rows) == depth
    assert vector_depth(spec.of_codes().head("cpu"), rows) == 8
    np.testing.assert_allclose(np.linalg.norm(spec.centroids(), axis=1), 1, atol=1e-5)
