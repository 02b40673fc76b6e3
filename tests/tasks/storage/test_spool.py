"""Rows in temporary files: kept, split and sorted as lists are."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.storage import spool as spools
from tasks.storage.spool import Spool

ODD = "a\n\udc80日"  # a name may hold any byte but zero
WORDS = st.lists(st.text("ab\n\udc80日", max_size=3), max_size=40)


@given(WORDS)
def test_rows_are_as_they_were_and_sorted_as_by_python(words: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, Spool() as spool:
        patch.setattr(spools, "ROWS_AT_ONCE", 3)
        patch.setattr(spools, "SORTED_AT_ONCE", 4)
        rows = spool.keep(words, str)
        assert list(rows) == list(rows) == words
        assert len(rows) == len(words)
        assert list(spool.sorted(words, str)) == sorted(words)


@given(WORDS, st.integers(1, 4))
def test_parts_keep_the_order(words: list[str], parts: int) -> None:
    with Spool() as spool:
        split = spool.split(((len(word) % parts, word) for word in words), parts, str, 2)
        expected = [[word for word in words if len(word) % parts == n] for n in range(parts)]
        assert list(map(list, split)) == expected


def test_make_turns_a_row_into_what_it_was() -> None:
    with Spool() as spool:
        assert list(spool.keep([(1, ODD), (2, None)], tuple)) == [(1, ODD), (2, None)]


def test_the_folder_is_made_where_it_is_needed_and_removed() -> None:
    with Spool() as spool:
        list(spool.sorted(["b", "a"], str))
        assert spool.made is None
        spool.keep(["a"], str)
        folder: Path = spool.folder
        assert len(list(folder.iterdir())) == 1
    assert not folder.exists()
