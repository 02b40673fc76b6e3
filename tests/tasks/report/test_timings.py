"""Timings: which stages are listed, in what they count."""

from types import SimpleNamespace
from typing import Any, cast

from tasks.report.timings import timings
from tasks.workspace.summary import Summary


def manifest(rows: int, **more: Any) -> dict[str, Any]:
    return {"shards": 2, "rows": rows, "seconds": {"wall": 1.5}, **more}


def test_finished_stages_are_listed_by_dump_and_imported_ones_are_not() -> None:
    stages = {"features": manifest(40), "baseline_masks": manifest(8)}
    whole = {"head": manifest(1, imported={}), "clusters": manifest(10)}
    corpus = SimpleNamespace(manifest=lambda: manifest(8))
    summary = SimpleNamespace(
        dumps=["day-1"],
        workspace=SimpleNamespace(corpus=lambda dump: corpus),
        manifest=lambda stage, dump: stages.get(stage),
        scores=lambda dump: None,
        whole=whole.get,
    )
    rows = timings(cast(Summary, summary))
    assert [(row.stage, row.dump, row.items, row.unit) for row in rows] == [
        ("corpus", "day-1", 8, "images"),
        ("features", "day-1", 40, "crops"),
        ("masks, raw features", "day-1", 8, "images"),
        ("clusters", None, 10, "restarts"),
    ]
