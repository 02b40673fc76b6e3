"""classes.toml: revisions, edits by hand, two people at once."""

from pathlib import Path

import pytest

from stego_core.errors import InputError, OptionError, WorkspaceError
from stego_core.labels.class_names import ClassNames
from tasks.class_names import classes_file
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"


def clustered(place: Workspace, key: str, count: int = 3) -> None:
    """As if clusters had been found."""
    place.folder("clusters", key).finish({"classes": count, "options": {}})
    place.storage.write("current.json", f'{{"keys": {{"clusters": "{key}"}}}}'.encode())


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(str(tmp_path / "ws"))
    clustered(workspace, KEY)
    return workspace


def file_of(place: Workspace) -> Path:
    return Path(place.storage.uri) / layout.CLASSES_FILE


def named(
    place: Workspace, number: int, name: str, stamp: str | None = None
) -> classes_file.NamedClasses:
    now = classes_file.current_names(place)
    return classes_file.edit(place, now.classes.edited(number, name), f"{number} {name}", stamp)


def test_before_any_edit_clusters_have_numbers_and_nothing_is_written(place: Workspace) -> None:
    now = classes_file.current_names(place)
    assert (now.revision, now.classes.names()) == (0, ["cluster 0", "cluster 1", "cluster 2"])
    assert not file_of(place).exists()
    assert classes_file.history(place) == []


def test_without_clusters_there_is_nothing_to_name(tmp_path: Path) -> None:
    empty = Workspace.create(str(tmp_path / "empty"))
    assert classes_file.names_for_display(empty) is None
    with pytest.raises(WorkspaceError, match="no current clusters"):
        classes_file.current_names(empty)


def test_every_revision_is_kept(place: Workspace) -> None:
    named(place, 1, "road")
    merged = classes_file.current_names(place).classes.merged([2], 1).ignoring([0])
    classes_file.edit(place, merged, "merged")
    now = classes_file.current_names(place)
    assert (now.revision, now.note, now.classes) == (2, "merged", merged)
    notes = [each.note for each in classes_file.history(place)]
    assert notes == ["as found", "1 road", "merged"]
    assert "road" in file_of(place).read_text()


def test_undo_goes_on_backwards_and_is_a_revision_too(place: Workspace) -> None:
    for number, name in ((0, "a"), (1, "b"), (2, "c")):
        named(place, number, name)
    assert classes_file.undo(place).classes.names() == ["a", "b", "cluster 2"]
    assert classes_file.undo(place).classes.names() == ["a", "cluster 1", "cluster 2"]
    named(place, 2, "d")
    assert classes_file.undo(place).classes.names() == ["a", "cluster 1", "cluster 2"]
    assert classes_file.current_names(place).revision == 7
    assert len(classes_file.history(place)) == 8


def test_undo_reads_a_number_and_no_note(place: Workspace) -> None:
    for number, name in ((0, "a"), (1, "b")):
        named(place, number, name)
    classes_file.undo(place)
    file = file_of(place)
    assert "undoes = 1" in file.read_text()
    file.write_text(file.read_text().replace("undo to revision 1", "Schritt zurück"))
    assert classes_file.current_names(place).undoes == 1
    assert classes_file.undo(place).classes.names() == ["cluster 0", "cluster 1", "cluster 2"]


def test_an_undo_of_an_earlier_version_is_understood_by_its_note(place: Workspace) -> None:
    for number, name in ((0, "a"), (1, "b")):
        named(place, number, name)
    classes_file.undo(place)
    for file in (file_of(place), *Path(place.storage.uri).glob("classes/*/*.toml")):
        file.write_text(file.read_text().replace("undoes = 1\n", ""))
    assert classes_file.undo(place).classes.names() == ["cluster 0", "cluster 1", "cluster 2"]


def test_an_edit_by_hand_after_an_undo_can_be_undone(place: Workspace) -> None:
    for number, name in ((0, "a"), (1, "b")):
        named(place, number, name)
    classes_file.undo(place)
    file_of(place).write_text(file_of(place).read_text().replace('"a"', '"c"'))
    assert classes_file.undo(place).classes.names() == ["a", "cluster 1", "cluster 2"]


def test_nothing_to_undo(place: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="no edit of the classes to undo"):
        classes_file.undo(place)


def test_an_edit_by_hand_counts_and_is_kept_when_the_next_one_comes(place: Workspace) -> None:
    named(place, 1, "road")
    file_of(place).write_text(file_of(place).read_text().replace('"road"', '"street"'))
    assert classes_file.current_names(place).classes.names()[1] == "street"
    named(place, 0, "sky")
    assert classes_file.current_names(place).classes.names() == ["sky", "street", "cluster 2"]
    kept = [each.classes.names()[1] for each in classes_file.history(place)]
    assert sorted(kept) == ["cluster 1", "road", "street", "street"]


def test_an_edit_by_hand_can_be_undone(place: Workspace) -> None:
    named(place, 1, "road")
    file_of(place).write_text(file_of(place).read_text().replace('"road"', '"street"'))
    assert classes_file.undo(place).classes.names()[1] == "road"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "road"', "name = 3", "class.1.name"),
        ('name = "road"', "name = ", "not a list of classes"),
        ("id = 1", "id = 7", "ids are not 0, 1, 2"),
        ('name = "road"', 'name = "road"\nmerged_into = 9', "merged into 9"),
        ('name = "road"', 'name = "road"\ncolor = "x"', "class.1.color"),
    ],
)
def test_an_edit_by_hand_that_makes_no_sense(
    place: Workspace, caplog: pytest.LogCaptureFixture, old: str, new: str, told: str
) -> None:
    named(place, 1, "road")
    text = file_of(place).read_text()
    assert old in text
    file_of(place).write_text(text.replace(old, new))
    with pytest.raises(InputError, match=told) as raised:
        classes_file.current_names(place)
    assert "mend it, or remove it" in str(raised.value)
    # A report goes on with what is stored, and says so.
    shown = classes_file.names_for_display(place)
    assert shown is not None
    assert shown.classes.names()[1] == "road"
    assert told in caplog.text
    file_of(place).unlink()
    assert classes_file.current_names(place).classes.names()[1] == "road"


def test_of_two_people_the_second_is_told(place: Workspace) -> None:
    stamp = classes_file.current_names(place).stamp
    named(place, 0, "sky", stamp)
    with pytest.raises(WorkspaceError, match=r"changed meanwhile \(revision 1: 0 sky\)"):
        named(place, 1, "road", stamp)
    assert classes_file.current_names(place).classes.names()[1] == "cluster 1"


def test_an_edit_that_was_killed_half_way_counts(place: Workspace) -> None:
    named(place, 0, "sky")
    before = file_of(place).read_text()
    named(place, 1, "road")
    file_of(place).write_text(before)  # the revision is on record, the file is of the one before
    assert classes_file.current_names(place).classes.names() == ["sky", "road", "cluster 2"]


def test_new_clusters_have_classes_of_their_own_and_old_names_are_kept(place: Workspace) -> None:
    named(place, 0, "sky")
    file_of(place).write_text(file_of(place).read_text().replace('"sky"', '"heaven"'))
    clustered(place, OTHER, 2)
    assert classes_file.current_names(place).classes.names() == ["cluster 0", "cluster 1"]
    named(place, 1, "road")
    clustered(place, KEY)
    assert classes_file.current_names(place).classes.names()[0] == "heaven"
    clustered(place, OTHER, 2)
    assert classes_file.current_names(place).classes.names() == ["cluster 0", "road"]


def test_classes_of_other_clusters_are_refused(place: Workspace) -> None:
    with pytest.raises(OptionError, match="2 classes were given for 3 clusters"):
        classes_file.edit(place, ClassNames.create(["a", "b"]), "wrong")
