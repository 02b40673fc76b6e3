"""The report's suggested merges: which groups are shown, and what of which image."""

from pathlib import Path

import numpy as np
import pytest
from labelled import CLUSTERS_KEY, MASKS_KEY, add_dump, save_photo, workspace_at

from tasks.class_names import classes_file
from tasks.report import page, stage
from tasks.report.contents import SuggestedMerges
from tasks.report.merge_groups import DIMMED
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

FEW = np.array([[0, 1, 2, 3, 4, 0]], np.uint8).repeat(4, 0)
MANY = np.array([[1, 1, 1, 1, 2, 2]], np.uint8).repeat(4, 0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two images, whose clusters have no names; three groups are suggested."""
    workspace = workspace_at(str(tmp_path / "ws"))
    masks = {"few": FEW, "many": MANY}
    for name in masks:
        save_photo(tmp_path / "day" / f"{name}.png", FEW.shape)
    add_dump(workspace, "day", tmp_path / "day", masks)
    times = {"shards": 1, "rows": 1, "seconds": {"wall": 1.0}}
    masks_folder = workspace.folder("masks", MASKS_KEY, "day")
    masks_folder.finish({**masks_folder.manifest(), **times})
    clusters = workspace.folder("clusters", CLUSTERS_KEY)
    clusters.finish({"classes": 5, "options": {}, **times})
    centroids = np.array([[0], [0.1], [3], [3.1], [6]], np.float32)
    file = f"{clusters.path}/{layout.CENTROIDS_FILE}"
    tables.write_tensors(workspace.storage, file, {"centroids": centroids})
    return workspace


def merges(workspace: Workspace) -> SuggestedMerges:
    found = stage.contents(Summary(workspace)).merges
    assert found is not None
    return found


def test_groups_of_several_classes_are_shown(workspace: Workspace) -> None:
    found = merges(workspace)
    assert found.count == 3
    assert sum(len(group.members) - 1 for group in found.groups) == 2
    assert all(len(group.members) > 1 for group in found.groups)
    assert sorted(leaf.id for leaf in found.leaves) == [0, 1, 2, 3, 4]


def test_each_class_is_shown_in_the_image_that_has_most_of_it(workspace: Workspace) -> None:
    pictures = {
        share.id: picture for group in merges(workspace).groups for share, picture in group.members
    }
    assert pictures
    pixels = stage.contents(Summary(workspace)).examples[0].image  # both have the same
    for number, picture in pictures.items():
        of_class = (MANY if number in (1, 2) else FEW) == number
        expected = np.where(of_class[..., None], pixels, (DIMMED * pixels).astype(np.uint8))
        np.testing.assert_array_equal(picture, expected)


def test_a_class_whose_image_is_gone_has_no_picture(workspace: Workspace) -> None:
    for name in ("few", "many"):
        workspace.storage.remove(layout.mask(f"masks/{MASKS_KEY}/day", name))
    found = merges(workspace)
    assert {picture for group in found.groups for _, picture in group.members} == {None}
    assert "no picture" in page.render(stage.contents(Summary(workspace)))


def test_the_page_shows_them(workspace: Workspace) -> None:
    html = page.render(stage.contents(Summary(workspace)))
    assert "5 classes would become 3: they keep 95%" in html
    assert "the joins to 3 groups are coloured" in html
    assert html.count("<b>stays</b>") == len(merges(workspace).groups)


def test_where_all_is_merged_nothing_is_shown(workspace: Workspace) -> None:
    classes = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, classes.merged([1, 2], 0), "by hand")
    report = stage.contents(Summary(workspace))
    assert report.merges is None
    assert 'id="merges"' not in page.render(report)
