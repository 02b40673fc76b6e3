"""Names: stems and endings."""

from pathlib import PurePosixPath

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.files.image_names import among, ending, repeated, stem

PIECES = ["a", "A", ".jpg", ".png", ".PNG", ".", " ", "~", "ü", "日本", "x" * 120]
PART = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
PATHS = st.lists(st.lists(PART.filter(lambda part: part.strip(". ")), min_size=1).map("/".join))


@given(PATHS)
def test_stems_and_endings_are_those_of_pathlib(paths: list[str]) -> None:
    for name in (*paths, *(f"a//{p}" for p in paths), *(f"./{p}" for p in paths)):
        pure = PurePosixPath(name)
        assert stem(name) == str(pure.with_suffix(""))
        assert ending(name) == pure.suffix.lower()


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_hashes_that_occur_again(marks: list[int], others: list[int]) -> None:
    array = np.array(marks, np.uint64)
    assert repeated(array).tolist() == sorted({mark for mark in marks if marks.count(mark) > 1})
    found = among(array, np.array(sorted(others), np.uint64))
    assert found.tolist() == [mark in others for mark in marks]
