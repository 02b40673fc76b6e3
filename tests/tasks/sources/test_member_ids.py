"""Ids: unique on any disk, and the same whatever the order of the images."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.files.image_names import folded
from tasks.sources.member_ids import IdChoice, safe

NAMES = st.text("aAbü/.~", min_size=1, max_size=8).map(safe)


def chosen(images: list[tuple[str, str]], parts: int = 1) -> dict[str, str]:
    ids = IdChoice()
    for part in range(parts):
        ids.see([short for short, _ in images[part::parts]])
    ids.settle(images)
    return {mark: ids.id_of(short, mark) for short, mark in images}


@given(st.lists(NAMES, max_size=12), st.integers(1, 4))
def test_unique_whatever_the_order(names: list[str], parts: int) -> None:
    images = [(name, f"file{number}") for number, name in enumerate(names)]
    ids = chosen(images)
    assert len(set(map(folded, ids.values()))) == len(images)
    shuffled = random.Random(0).sample(images, len(images))
    assert chosen(shuffled, parts) == ids


def test_plain_names_stay() -> None:
    names = [f"d/{n}" for n in range(9)]
    ids = chosen([(name, name) for name in names])
    assert list(ids.values()) == names


def test_names_that_a_disk_confuses_or_refuses() -> None:
    images = [("A", "1"), ("a", "2"), ("n" * 300, "3"), ("b.png", "4"), ("b.png/c", "5")]
    ids = chosen(images)
    assert ids["1"] == "A"
    assert ids["2"].startswith("a~")
    assert ids["3"].startswith("n" * 100 + "~")
    assert len({*ids.values()}) == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [("../a", "a"), ("/a//b", "a/b"), ("a\\b", "a/b"), ("a\nb", "a_b"), ("..", "image")],
)
def test_safe(name: str, expected: str) -> None:
    assert safe(name) == expected
