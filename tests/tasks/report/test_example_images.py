"""Example images: which are chosen, and in which colours they are shown."""

from pathlib import Path

import numpy as np
import pytest
from labelled import MASKS_KEY, add_dump, blobs, save_photo, workspace_at

from stego_core.labels.void import VOID_BYTE
from tasks.class_names import classes_file
from tasks.report import example_images
from tasks.report.example_images import evenly_spread, most_uncertain
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

IMAGES = 5


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    masks = {f"{number}": blobs(number, 8, 12) for number in range(IMAGES)}
    masks["3"][:2] = VOID_BYTE
    for name in masks:
        save_photo(tmp_path / "day" / f"{name}.png", (8, 12))
    workspace = workspace_at(str(tmp_path / "ws"))
    add_dump(workspace, "day", tmp_path / "day", masks)
    return workspace


@pytest.mark.parametrize(
    ("most", "rows"), [(1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_examples_are_spread_from_the_first_to_the_last(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, most: int, rows: list[int]
) -> None:
    monkeypatch.setattr(example_images, "EXAMPLES", most)
    assert [image.row for image in evenly_spread(Summary(workspace), "day")] == rows


def test_masks_have_the_colours_of_the_classes(workspace: Workspace) -> None:
    classes = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, classes.merged([3], 2).edited(2, None, "#102030"), "for a test")
    image = evenly_spread(Summary(workspace), "day")[3]
    ids = blobs(3, 8, 12)
    ids[:2] = VOID_BYTE
    shown_as_two = np.isin(ids, (2, 3))
    assert (image.mask[shown_as_two] == (0x10, 0x20, 0x30)).all()
    np.testing.assert_array_equal(image.overlay[:2], image.image[:2])  # nothing over no data
    assert image.labels is None
    assert image.uncertainty is None


def test_an_image_without_a_mask_is_left_out(workspace: Workspace) -> None:
    workspace.storage.remove(f"masks/{MASKS_KEY}/day/2.png")
    rows = [image.row for image in evenly_spread(Summary(workspace), "day")]
    assert rows == [0, 1, 3, 4]


def test_the_most_uncertain_come_first(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example_images, "UNCERTAIN", 3)
    images = most_uncertain(Summary(workspace))
    shares = [image.uncertainty for image in images if image.uncertainty is not None]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[-1] <= shares[0] <= 100


def test_before_there_are_masks_there_are_none(tmp_path: Path) -> None:
    workspace = workspace_at(str(tmp_path / "empty"))
    assert most_uncertain(Summary(workspace)) == []
