"""Clusters of sampled codes: how many, and which restart."""

from typing import Any

from two_dumps import compute

from stego_core.clustering import stability
from tasks.clusters import stage as clusters
from tasks.features.rows import FeatureRows
from tasks.head import heads
from tasks.options import (
    ClustersOptions,
)
from tasks.workspace import tables


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


def test_the_codes_say_how_many_classes(rows: FeatureRows) -> None:
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
    stored = tables.read_tensors(rows.workspace.storage, f"clusters/{key}/centroids.safetensors")
    assert len(stored["centroids"]) == found["classes"]


def test_a_number_of_classes_asks_nothing(rows: FeatureRows) -> None:
    options = ClustersOptions(classes=3)
    assert clusters.plan_stability(rows, heads.IDENTITY, options) is None
