"""The document of a benchmark: this run's rows, the published ones, and what is unusable."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from stego_core.paper.published_protocol import named
from tasks.paper import comparison
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

FIGURES = {
    "released_accuracy": 61.0,
    "released_miou": 29.0,
    **{f"{prefix}accuracy": value for prefix, value in (("", 60.0), ("baseline_", 40.0))},
    **{f"{prefix}miou": value for prefix, value in (("", 30.0), ("baseline_", 20.0))},
    "linear_accuracy": 70.0,
    "linear_miou": None,
    "per_class": {"roads and cars": 1.5},
}


def test_a_row_has_the_figures_of_its_method() -> None:
    row = comparison.row("ours", "ViT", FIGURES, "", "linear_")
    assert list(row.values()) == ["ours", "ViT", 60.0, 30.0, 70.0, None]
    raw = comparison.row("raw", "ViT", FIGURES, "baseline_")
    assert list(raw.values()) == ["raw", "ViT", 40.0, 20.0, None, None]


@pytest.mark.parametrize(
    ("limit", "split", "expected"),
    [
        (None, "", "potsdam3"),
        (5, "", "potsdam3-first5"),
        (None, "val", "potsdam3-val"),
        (5, "train", "potsdam3-train-first5"),
    ],
)
def test_a_trial_has_a_name_of_its_own(limit: int | None, split: str, expected: str) -> None:
    assert comparison.report_name(named("potsdam3"), limit, split) == expected


def test_the_table_is_markdown() -> None:
    rows = [
        comparison.row("ours", "ViT", FIGURES, "", "linear_"),
        comparison.row("none", "ViT", {"x_accuracy": None, "x_miou": None}, "x_"),
        *(row._asdict() for row in named("potsdam3").published),
    ]
    chosen = comparison.best([{"steps": 1, "accuracy": 62.0, "miou": 31.0}, {"miou": 30.0}])
    assert comparison.table({"rows": rows, "best": chosen}).splitlines()[2:] == [
        "| ours | ViT | 60.0 / 30.0 | 62.0 / 31.0 | 70.0 / – |",
        "| STEGO | DINO ViT-S/8 | – / – | 77.0 / – | – / – |",
        "| EAGLE (2024) | DINO ViT-S/8 | – / – | 83.3 / – | – / – |",
    ]
    assert comparison.best([]) is None


class TestWrite:
    clusters = 3

    @pytest.fixture
    def workspace(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Workspace:
        """Both splits are prepared; summary, matrix and chart are stand-ins."""
        workspace = Workspace.create(str(tmp_path / "ws"))
        for dump, rows, quarantined in (("t", 10, 1), ("v", 6, 2)):
            manifest = {"rows": rows, "quarantined": quarantined, "limit": 4, "data": "/data"}
            workspace.folder(layout.PREPARED, dump).finish(manifest)
        scored = {"scores": FIGURES, "invalid": {"3": "broken"}, "matching": {"stego": [2, 0, 1]}}
        summary = SimpleNamespace(
            scores={"v": scored}.get,
            whole={"clusters": {"backbone": {"name": "vit_x"}}}.get,
            last_run={"spread": {"v": {"seeds": [0]}}},
        )
        names = [f"cluster {number}" for number in range(self.clusters)]
        matrix = SimpleNamespace(
            true_names=["a"], predicted_names=names, counts=np.array([[7]]), ious=np.array([1.5])
        )
        monkeypatch.setattr(comparison, "Summary", lambda _: summary)
        monkeypatch.setattr(comparison, "confusion", lambda *_: matrix)
        monkeypatch.setattr(comparison.charts, "confusion_png", lambda _: b"png")
        return workspace

    def test_rows_counts_and_files(self, workspace: Workspace) -> None:
        benchmark = named("potsdam3")
        document = comparison.write(workspace, benchmark, ("t", "v"), ["a trial"])
        systems = [row["system"] for row in document["rows"]]
        assert systems == [comparison.OURS, comparison.RAW, "STEGO", "EAGLE (2024)"]
        assert document["images"] == {"train": 9, "val": 4}
        assert document["unusable"] == 1 + 2 + 1
        assert document["departures"] == ["a trial"]
        assert document["confusion"] == {
            "true": ["a"],
            "predicted": ["cluster 0", "cluster 1", "cluster 2"],
            "pixels": [[7]],
        }
        assert document["per_class"] == {"a": 1.5}
        assert document["spread"] == {"seeds": [0]}
        assert document["matching"] == [2, 0, 1]
        folder = layout.report("potsdam3-first4")
        stored = json.loads(workspace.storage.read(f"{folder}/{layout.BENCHMARK_FILE}"))
        places = {name: cast(str, document.pop(name)) for name in ("document", "figure", "table")}
        assert stored == document
        assert places["figure"] == workspace.storage.full(f"{folder}/{layout.CONFUSION_FILE}")
        assert workspace.storage.read(f"{folder}/{layout.CONFUSION_FILE}") == b"png"
        assert document["counting"] is None
        assert document["rows"][0]["accuracy"] == 60.0


class TestExtraClusters(TestWrite):
    clusters = 5

    def test_rows_counts_and_files(self, workspace: Workspace) -> None:
        document = comparison.write(workspace, named("potsdam3"), ("t", "v"), [])
        assert document["rows"][0]["accuracy"] == 61.0
        assert document["rows"][0]["miou"] == 29.0
        assert "pixels of the last 2 are not counted" in document["counting"]
        assert "accuracy 60.0, mIoU 30.0" in document["counting"]
