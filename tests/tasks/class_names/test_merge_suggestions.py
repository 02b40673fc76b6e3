"""Suggested merges: what is joined, how many groups, and what people decided before."""

from pathlib import Path

import numpy as np
import pytest
from labelled import CLUSTERS_KEY, add_dump, save_photo, workspace_at

from stego_core.errors import OptionError
from stego_core.labels.class_names import ClassNames, numbered
from tasks.class_names import classes_file
from tasks.class_names.merge_suggestions import (
    Count,
    Group,
    Hierarchy,
    Suggestion,
    suggested_count,
    suggestion,
)
from tasks.workspace import layout, tables
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace

CENTROIDS = np.array([[0.0], [0.1], [2.0], [2.2], [5.0]])
PIXELS = np.array([10.0, 20.0, 30.0, 25.0, 15.0])
FOUND = ClassNames.create([numbered(number) for number in range(5)])


def groups(classes: ClassNames, count: int) -> list[Group]:
    return Hierarchy.of(classes, CENTROIDS, PIXELS).groups(count)


class TestGroups:
    def test_the_nearest_come_first_into_the_largest(self) -> None:
        assert groups(FOUND, 3) == [Group(2, (3,)), Group(1, (0,)), Group(4, ())]
        assert groups(FOUND, 2) == [Group(2, (3, 1, 0)), Group(4, ())]
        assert groups(FOUND, 5) == [Group(n, ()) for n in (2, 3, 1, 4, 0)]

    def test_what_is_merged_is_one_class(self) -> None:
        merged = FOUND.merged([0], 4)
        hierarchy = Hierarchy.of(merged, CENTROIDS, PIXELS)
        assert hierarchy.ids == (1, 2, 3, 4)
        assert hierarchy.areas.tolist() == pytest.approx([0.2, 0.3, 0.25, 0.25])
        assert groups(merged, 3) == [Group(2, (3,)), Group(4, ()), Group(1, ())]

    def test_what_is_ignored_is_left_out(self) -> None:
        assert groups(FOUND.ignoring([2]), 3) == [Group(1, (0,)), Group(3, ()), Group(4, ())]

    def test_the_name_stays(self) -> None:
        assert groups(FOUND.edited(0, name="sea"), 4) == [
            Group(0, (1,)), Group(2, ()), Group(3, ()), Group(4, ()),
        ]  # fmt: skip

    def test_two_names_are_never_merged(self) -> None:
        named = FOUND.edited(2, name="road").edited(3, name="path").edited(4, name="sky")
        assert groups(named, 3) == [Group(2, (1, 0)), Group(3, ()), Group(4, ())]
        with pytest.raises(OptionError, match="into 2 groups; expected 3 to 5; 3 classes have"):
            groups(named, 2)

    @pytest.mark.parametrize("count", [0, 1, 6])
    def test_there_cannot_be_so_many(self, count: int) -> None:
        with pytest.raises(OptionError, match=f"into {count} groups; expected 2 to 5$"):
            groups(FOUND, count)

    def test_a_class_without_pixels_joins_the_nearest(self) -> None:
        pixels = np.array([0.0, 20.0, 30.0, 25.0, 15.0])
        assert Hierarchy.of(FOUND, CENTROIDS, pixels).groups(4)[2] == Group(1, (0,))
        nothing = Hierarchy.of(FOUND, CENTROIDS, np.zeros(5))
        assert len(nothing.groups(2)) == 2

    @pytest.mark.parametrize("shown", [0, 1])
    def test_nothing_is_merged_where_hardly_a_class_is_shown(self, shown: int) -> None:
        few = FOUND.ignoring(range(shown, 5))
        assert groups(few, shown) == [Group(number, ()) for number in range(shown)]

    def test_taken_they_are_merges_that_can_be_taken_apart(self) -> None:
        named = FOUND.edited(0, name="sea").merged([4], 1)
        hierarchy = Hierarchy.of(named, CENTROIDS, PIXELS)
        taken = Suggestion(hierarchy, hierarchy.groups(2), Count(2, "")).taken(named)
        assert len(taken.kept()) == 2
        assert taken.entries[0].merged_into is None
        assert [entry.name for entry in taken.entries] == [entry.name for entry in named.entries]
        joined = [n for n in range(5) if taken.entries[n] != named.entries[n]]
        assert taken.merged(joined, None) == named


def test_as_few_groups_are_suggested_as_keep_most_of_the_spread() -> None:
    """Joining both pairs costs little, and each further join costs much."""
    far = np.array([[0.0], [0.1], [3.0], [3.1], [6.0]])
    assert suggested_count(far, PIXELS).groups == 3
    assert suggested_count(far, PIXELS).why == "they keep 95% of what separates the 5 clusters"


class TestWorkspace:
    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Workspace:
        """Clusters without names, whose centroids are `CENTROIDS`, and a mask."""
        workspace = workspace_at(str(tmp_path / "ws"))
        mask = np.repeat(np.arange(5, dtype=np.uint8), PIXELS.astype(int)).reshape(10, 10)
        save_photo(tmp_path / "day" / "a.png", mask.shape)
        add_dump(workspace, "day", tmp_path / "day", {"a": mask})
        folder = workspace.folder("clusters", CLUSTERS_KEY)
        folder.finish({"classes": 5, "options": {}})
        file = f"{folder.path}/{layout.CENTROIDS_FILE}"
        tables.write_tensors(workspace.storage, file, {"centroids": CENTROIDS.astype(np.float32)})
        return workspace

    def suggested(self, workspace: Workspace, groups: int | None = None) -> Suggestion:
        classes = classes_file.current_names(workspace).classes
        return suggestion(Summary(workspace), classes, groups)

    def test_areas_are_those_of_the_masks(self, workspace: Workspace) -> None:
        found = self.suggested(workspace)
        assert found.hierarchy.areas.tolist() == pytest.approx((PIXELS / 100).tolist())
        assert found.groups == groups(FOUND, 3)
        assert len(self.suggested(workspace, 4).groups) == 4

    def test_once_taken_nothing_more_is_suggested(self, workspace: Workspace) -> None:
        now = classes_file.current_names(workspace)
        classes_file.edit(workspace, self.suggested(workspace).taken(now.classes), "taken")
        again = self.suggested(workspace)
        assert [group.ids for group in again.groups] == [(), (), ()]
        classes_file.undo(workspace)
        assert self.suggested(workspace).groups == groups(FOUND, 3)

    def test_names_make_it_more_groups(self, workspace: Workspace) -> None:
        classes = classes_file.current_names(workspace).classes
        for number in range(5):
            classes = classes.edited(number, name=f"thing {number}")
        classes_file.edit(workspace, classes, "named")
        found = self.suggested(workspace)
        assert found.suggested.groups == 5
        assert "5 classes have names" in found.suggested.why
        assert found.document()["fewest"] == 5
