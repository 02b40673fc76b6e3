"""Patterns of names: what they stand for, and what they match."""

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stego_core.errors import InputError
from tasks.files import patterns


def test_braces() -> None:
    assert patterns.expanded("x-{000..002}.tar") == ["x-000.tar", "x-001.tar", "x-002.tar"]
    assert patterns.expanded("x{8..11}") == ["x8", "x9", "x10", "x11"]
    assert patterns.expanded("x{2..1}") == ["x2", "x1"]
    assert patterns.expanded("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    assert patterns.expanded("a{b}c") == ["a{b}c"]
    assert patterns.expanded("a{1,1}") == ["a1"]


@pytest.mark.parametrize("pattern", ["{0..99999999}", "{0..999}{0..999}"])
def test_too_many_names(pattern: str) -> None:
    with pytest.raises(InputError, match="stands for"):
        patterns.expanded(pattern)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/d/*.jpg", ["a.jpg", ".jpg"], ["e/a.jpg", "a.jpgx", "a_jpg"]),
        ("/d/**/*.jpg", ["a.jpg", "e/a.jpg", "e/f/a.jpg"], ["a.png"]),
        ("/d/**", ["a", "e/f"], []),
        ("/d/?[ab].png", ["xa.png", "xb.png"], ["xc.png", "/a.png"]),
        ("/d/[!a].png", ["b.png"], ["a.png"]),
        ("/d/{a,b}/*", ["a/x", "b/y"], ["c/x"]),
        ("/d/x.y/*", [], []),
    ],
)
def test_matches(pattern: str, matching: list[str], others: list[str]) -> None:
    root, matches = patterns.split(pattern)
    assert root in ("/d", "/d/x.y")
    assert all(map(matches, matching))
    assert not any(map(matches, others))


@given(st.text("ab*?.", min_size=1, max_size=6), st.text("ab.", min_size=1, max_size=6))
def test_one_part_is_matched_as_fnmatch_does(pattern: str, name: str) -> None:
    if not patterns.has_wildcards(pattern) or "**" in pattern:
        pattern = "*" + pattern.replace("*", "")
    assert patterns.split(f"/d/{pattern}")[1](name) == fnmatch.fnmatchcase(name, pattern)


def test_what_is_no_pattern(tmp_path: Path) -> None:
    assert not patterns.is_pattern("/d/a.jpg")
    assert patterns.is_pattern("/d/*.jpg")
    (tmp_path / "a[1]{2,3}").mkdir()
    assert not patterns.is_pattern(f"{tmp_path}/a[1]{{2,3}}")
    assert not patterns.is_pattern("https://host/a.jpg?b=1")
    assert patterns.is_pattern("https://host/{0..1}.tar")


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/d/imgs/**/*.jpg", "imgs"),
        ("/d/x-{000..009}.tar", "x-.tar"),
        ("/d/list.csv", "list.csv"),
        ("https://host/d/x.tar?a=b", "x.tar"),
        ("/d/imgs/", "imgs"),
    ],
)
def test_a_name_for_people(location: str, name: str) -> None:
    assert patterns.name_of(location) == name
