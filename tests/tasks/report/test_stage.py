"""Stage report: what of a workspace goes onto the page."""

from pathlib import Path

import numpy as np
import pytest
from labelled import (
    CLUSTERS_KEY,
    MASKS_KEY,
    NAMES,
    add_dump,
    blobs,
    save_photo,
    workspace_at,
)

from tasks.class_names import classes_file
from tasks.report import stage
from tasks.workspace import tables
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

MASK = blobs(1, 9, 12)
TIMES = {"shards": 1, "rows": 1, "seconds": {"wall": 1.0}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    save_photo(tmp_path / "day" / "a.png", MASK.shape)
    workspace = workspace_at(str(tmp_path / "ws"))
    add_dump(workspace, "day", tmp_path / "day", {"a": MASK})
    for path in (("masks", MASKS_KEY, "day"), ("clusters", CLUSTERS_KEY)):
        folder = workspace.folder(*path)
        folder.finish({**folder.manifest(), **TIMES})
    return workspace


def test_the_page_is_stored_where_it_says(workspace: Workspace) -> None:
    path = Path(stage.write(workspace, "week-31"))
    assert path == Path(workspace.storage.uri) / "reports" / "week-31" / "index.html"
    html = path.read_text(encoding="utf-8")
    assert all(f">{name}<" in html for name in NAMES)
    assert "day / a" in html


def test_shares_are_those_of_classes_with_what_is_merged_into_them(workspace: Workspace) -> None:
    classes = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, classes.merged([3], 2).ignoring([4]), "for a test")
    report = stage.contents(Summary(workspace))
    assert [entry.name for entry in report.classes] == ["building", "road", "sky"]
    sky = np.isin(MASK, (2, 3)).mean() * 100
    assert report.classes[2].share == pytest.approx(sky)
    assert sum(entry.share for entry in report.classes) == pytest.approx((MASK != 4).mean() * 100)


def test_an_empty_workspace_has_a_report(tmp_path: Path) -> None:
    report = stage.contents(Summary(Workspace.create(str(tmp_path / "ws"))))
    assert (report.classes, report.examples, report.curves, report.seed) == ([], [], None, None)
    assert report.status["counts"]["images"] == 0


@pytest.mark.parametrize("imported", [False, True])
def test_an_imported_head_has_no_curve(workspace: Workspace, imported: bool) -> None:
    folder = workspace.folder("heads", "head-key")
    path = f"{folder.path}/curve.parquet"
    columns = {"step": "int64", "loss": "double"}
    tables.write_table(workspace.storage, path, {"step": [1, 2], "loss": [0.5, 0.25]}, columns)
    folder.finish({"shifts": {"self": 0.5}, **TIMES, **({"imported": {}} if imported else {})})
    workspace.update_last_run(keys={**Summary(workspace).keys, "head": "head-key"})
    curves = stage.contents(Summary(workspace)).curves
    assert (curves is None) == imported
    if curves:
        np.testing.assert_array_equal(curves.columns["loss"], [0.5, 0.25])
        assert curves.shifts == {"self": 0.5}
