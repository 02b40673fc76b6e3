"""Files of points: what is read, and what is said of rows that cannot be used."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stego_core.errors import InputError
from tasks.corpus.index import IndexReader
from tasks.teaching.lessons import Lesson
from tasks.teaching.point_files import ReadPoints, read_points
from tasks.workspace.workspace import Workspace

KEY = "c" * 16
Read = Callable[..., ReadPoints]


@pytest.fixture
def read(workspace: Workspace, tmp_path: Path) -> Read:
    def of(text: str, encoding: str = "utf-8") -> ReadPoints:
        file = tmp_path / "points.csv"
        file.write_bytes(text.encode(encoding))
        return read_points(workspace, str(file), ["first", "later"], KEY)

    return of


def test_rows_become_lessons(read: Read) -> None:
    found = read("image,x,y,class\ns000.png,3,5,road\ns009.png,95,63, sky \n")
    assert found.problems == []
    assert found.lessons == [
        Lesson("first", "s000", 3, 5, "road", KEY), Lesson("later", "s009", 95, 63, "sky", KEY)
    ]  # fmt: skip


def test_columns_stand_in_any_order_beside_others(read: Read) -> None:
    found = read("\ufeffclass, y ,note,x,image,dump\r\nroad,5.9,why,3.2,s000,first\r\n")
    assert found.lessons == [Lesson("first", "s000", 3, 5, "road", KEY)]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("gone.png,1,1,road", "there is no image 'gone.png'"),
        ("s000.png,64,1,road", "x is 64; the image has 0 to 63"),
        ("s000.png,1,-1,road", "y is -1; the image has 0 to 63"),
        ("s000.png,1,nan,road", "y is nan; the image has 0 to 63"),
        ("s000.png,one,1,road", "x is 'one'; expected a number"),
        ("s000.png,1,1,", "the class is ''; expected 1 to 100 printable characters"),
        ("s000.png,1", "y is ''; expected a number"),
        ("s000.png,1,1,a\tb", "expected 1 to 100 printable"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_and_the_others_go_on(
    read: Read, row: str, problem: str
) -> None:
    found = read(f"image,x,y,class\n{row}\ns001.png,1,1,road\n")
    assert len(found.lessons) == 1
    assert found.problems[0].startswith("line 2: ")
    assert problem in found.problems[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("image,x,class\ns000.png,1,road\n", "lacks the column y; its first line is"),
        ("", "lacks the column image, x, y, class"),
        ("image,x,y,class\n", "it has no rows"),
        ("image,x,y,class\ngone,1,1,road\n", "can be used: line 2: there is no image"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_is_refused(
    read: Read, text: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        read(text)


def test_a_file_that_is_no_text_is_refused(
    read: Read, tmp_path: Path, workspace: Workspace
) -> None:
    with pytest.raises(InputError, match="cannot be read as text"):
        read("image\xff", "latin-1")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_points(workspace, str(tmp_path / "none.csv"), ["first"], KEY)


def test_an_image_that_two_dumps_have_needs_a_dump(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = IndexReader.columns
    monkeypatch.setattr(  # as if the later dump held the images of the first
        IndexReader,
        "columns",
        lambda index, names: own(replace(index, dump="first"), names),
    )
    file = tmp_path / "points.csv"
    file.write_text("image,x,y,class,dump\ns000.png,1,1,road,\ns000.png,1,1,sky,later\n")
    found = read_points(workspace, str(file), ["first", "later"], KEY)
    assert found.lessons == [Lesson("later", "s000", 1, 1, "sky", KEY)]
    assert "2 images are called 's000.png' (in first, later)" in found.problems[0]
