"""Lessons: files that are added, taken back, and never lost."""

from pathlib import Path

import pytest

from stego_core.errors import DamageError, WorkspaceError
from tasks.storage.storage import Storage
from tasks.teaching import lessons
from tasks.teaching.lessons import Lesson
from tasks.workspace import layout


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.at(str(tmp_path))


def point(x: int, name: str, clusters: str = "c0") -> Lesson:
    return Lesson("first", "s001", x, 7, name, clusters)


def test_none_are_there_at_first(storage: Storage) -> None:
    assert lessons.in_force(storage) == []
    with pytest.raises(WorkspaceError, match="no lesson"):
        lessons.undo(storage)


def test_what_was_added_counts_in_order(storage: Storage) -> None:
    first = lessons.add(storage, [point(1, "road"), point(2, "tree")], "two")
    lessons.add(storage, [point(3, "sky", "c1")], "one")
    assert lessons.in_force(storage) == [
        point(1, "road"), point(2, "tree"), point(3, "sky", "c1")
    ]  # fmt: skip
    assert lessons.read(storage, first.file) == first


def test_a_later_lesson_of_a_pixel_takes_the_earlier_ones_place(storage: Storage) -> None:
    lessons.add(storage, [point(1, "road"), point(2, "tree")], "two")
    lessons.add(storage, [point(1, "sky")], "one")
    assert lessons.in_force(storage) == [point(2, "tree"), point(1, "sky")]


def test_what_was_taught_last_is_taken_back_first(storage: Storage) -> None:
    for name in ("road", "tree", "sky"):
        lessons.add(storage, [point(1, name)], name)
    assert lessons.undo(storage).note == "undo: sky"
    assert lessons.undo(storage).note == "undo: tree"
    lessons.add(storage, [point(2, "pole")], "pole")
    assert [lesson.name for lesson in lessons.in_force(storage)] == ["road", "pole"]
    assert len(lessons.history(storage)) == 6  # nothing is rewritten or removed


def test_two_who_teach_at_once_lose_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons.add(storage, [point(1, "road")], "one")
    before = storage.names(layout.LESSONS)
    monkeypatch.setattr(lessons, "names", lambda _: before)  # neither sees the other's file
    for x, name in ((2, "tree"), (3, "sky")):
        lessons.add(storage, [point(x, name)], name)
    monkeypatch.undo()
    assert {lesson.name for lesson in lessons.in_force(storage)} == {"road", "tree", "sky"}


@pytest.mark.parametrize("content", [b"no", b"[]", b'{"lessons": [["a", "b", "c"]]}', b'{"x": 1}'])
def test_a_damaged_file_is_named(storage: Storage, content: bytes) -> None:
    storage.write(f"{layout.LESSONS}/000000-{'a' * 16}.json", content)
    with pytest.raises(DamageError, match=r"holds no lessons.*remove it to go on without"):
        lessons.in_force(storage)


def test_other_files_are_left_alone(storage: Storage) -> None:
    storage.write(f"{layout.LESSONS}/notes.txt", b"mine")
    assert lessons.in_force(storage) == []
