"""Which class a lesson means: clusters by name, new classes, names that changed since."""

import pytest

from stego_core.errors import CapacityError
from tasks.class_names import classes_file
from tasks.teaching.lessons import Lesson
from tasks.teaching.taught_names import Curriculum, curriculum
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

KEY, TAUGHT, NEW = "c" * 16, "d" * 16, "e" * 16
CLUSTERS = 5


def lesson(name: str, clusters: str = KEY) -> Lesson:
    return Lesson("first", "s000", 1, 1, name, clusters)


def learn(workspace: Workspace, *names: str, key: str = KEY) -> Curriculum:
    return curriculum(workspace, [lesson(name) for name in names], key, CLUSTERS)


def ids(found: Curriculum) -> list[int]:
    return [number for _, number in found.lessons]


def rename(workspace: Workspace, which: str, name: str) -> None:
    now = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, now.edited(now.find(which), name), name)


def now_taught(workspace: Workspace, found: Curriculum, base: str = KEY, key: str = TAUGHT) -> None:
    """As if these lessons had been learned."""
    names = [entry.name for entry in found.classes.entries]
    taught = {"inputs": {"clusters": base}, "taught": {}}
    manifest = {"classes": len(names), "names": names, **taught}
    workspace.folder(layout.clusters(key)).finish({"options": {}, **manifest})
    classes_file.carry(workspace, key, found.classes, "taught")
    workspace.update_last_run(keys={"clusters": key})


def test_names_are_those_of_clusters_or_new(workspace: Workspace) -> None:
    rename(workspace, "cluster 2", "Road")
    found = learn(workspace, "road", "cluster 4", "pole", "ROAD", "Pole", "sign")
    assert ids(found) == [2, 4, 5, 2, 5, 6]
    assert [entry.name for entry in found.classes.entries[5:]] == ["pole", "sign"]
    assert len({entry.colour for entry in found.classes.entries}) == 7
    assert found.problems == []


def test_a_merged_cluster_is_the_one_it_counts_as(workspace: Workspace) -> None:
    now = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, now.merged([4], 1).ignoring([0]), "merged")
    found = learn(workspace, "cluster 4", "cluster 1", "cluster 0")
    assert ids(found) == [1, 1, 0]
    assert found.classes == classes_file.current_names(workspace).classes


def test_a_name_that_changed_since_means_what_it_is_called_now(workspace: Workspace) -> None:
    rename(workspace, "cluster 2", "road")
    now_taught(workspace, learn(workspace, "road", "pole"))
    rename(workspace, "road", "street")
    rename(workspace, "pole", "post")
    found = learn(workspace, "road", "pole", "street", "post", "cluster 2")
    assert ids(found) == [2, 5, 2, 5, 2]
    assert found.classes.entries[5].name == "post"


def test_an_undone_rename_leads_in_no_circle(workspace: Workspace) -> None:
    rename(workspace, "cluster 2", "road")
    classes_file.undo(workspace)
    assert ids(learn(workspace, "road", "cluster 2")) == [2, 2]


def test_classes_that_no_lesson_names_any_more_are_gone(workspace: Workspace) -> None:
    now_taught(workspace, learn(workspace, "pole", "sign"))
    now = classes_file.current_names(workspace).classes
    classes_file.edit(workspace, now.merged([3], 5).edited(6, colour="#123456"), "merged")
    found = learn(workspace, "sign")
    assert ids(found) == [5]
    assert [entry.name for entry in found.classes.entries[5:]] == ["sign"]
    assert found.classes.entries[5].colour == "#123456"
    assert found.classes.entries[3].merged_into is None  # it would count as another class now


class TestAfterRetraining:
    @pytest.fixture
    def retrained(self, workspace: Workspace) -> Workspace:
        rename(workspace, "cluster 2", "road")
        now_taught(workspace, learn(workspace, "road", "pole"))
        workspace.folder(layout.clusters(NEW)).finish({"classes": CLUSTERS, "options": {}})
        workspace.update_last_run(keys={"clusters": NEW})
        return workspace

    def test_names_are_new_classes_until_a_cluster_has_them(self, retrained: Workspace) -> None:
        assert ids(learn(retrained, "road", "pole", key=NEW)) == [5, 6]
        rename(retrained, "cluster 0", "road")
        assert ids(learn(retrained, "road", "pole", key=NEW)) == [0, 5]

    def test_a_cluster_without_a_name_is_not_the_new_one_of_its_number(
        self, retrained: Workspace
    ) -> None:
        found = learn(retrained, "cluster 1", "cluster 2", "road", key=NEW)
        assert found.problems == ["'cluster 1' was a cluster of an earlier model without a name"]
        assert ids(found) == [5, 5]  # cluster 2 was road


def test_more_classes_than_a_mask_holds_are_refused(workspace: Workspace) -> None:
    with pytest.raises(CapacityError, match="name 256 classes; a mask holds 255"):
        learn(workspace, *(f"class {number}" for number in range(251)))
