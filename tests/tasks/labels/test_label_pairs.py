"""Pairs of a whole dump, part by part: the same as all at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.labels import label_pairs, pairing
from tasks.labels.label_pairs import beside, pair_all
from tasks.storage.spool import Spool
from tasks.storage.storage import File

STEMS = ["a", "A", "b", "ü", "u\u0308", "Ü", "K", "\u212a", "d/a", "D/a", "a_x", "b_x", "A_x", "_x"]
ENDINGS = [".png", ".jpg", ".tif", ".PNG"]
IMAGES = st.lists(st.sampled_from(STEMS), max_size=12)
FILES = st.lists(st.tuples(st.sampled_from(STEMS), st.sampled_from(ENDINGS)), unique=True)


@pytest.fixture(autouse=True, scope="module")
def many_parts() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_pairs, "PART_ROWS", 2)
        yield


@given(IMAGES, FILES, st.sampled_from(["", "_x"]), st.sampled_from(["", "_x"]))
def test_parts_pair_as_the_whole_does(
    images: list[str], files: list[tuple[str, str]], image_suffix: str, label_suffix: str
) -> None:
    labels = [File("".join(parts), 1, "v", 0.0) for parts in sorted(files)]
    whole = pairing.pair(images, labels, image_suffix, label_suffix)
    with Spool() as spool:
        kept = spool.keep(labels, File._make)
        named = enumerate(images)
        pairs = pair_all(named, kept, spool, image_suffix, label_suffix, total=len(images))
        expected = [(n, label) for n, label in enumerate(whole.labels) if label]
        assert list(pairs.labels) == expected
        assert [file.path for file in pairs.orphans] == whole.orphans
    for found, paths in ((pairs.seconds, whole.seconds), (pairs.others, whole.others)):
        assert (found.count, found.first) == (len(paths), min(paths, default=None))
    first = min(whole.inexact, default=None)
    assert pairs.inexact.count == len(whole.inexact)
    assert pairs.inexact.first == (None if first is None else (first, images[first]))


@given(FILES)
def test_what_lies_beside(files: list[tuple[str, str]]) -> None:
    paths = sorted(map("".join, files))
    with Spool() as spool:
        found = dict(beside(spool.keep(paths, str), spool))
    assert found == pairing.beside(paths)
    assert list(found) == sorted(found)


def test_names_of_one_form_are_in_one_part() -> None:
    with Spool() as spool:
        labels = [File(f"{number}_ü.png", 1, "v", 0.0) for number in range(500)]
        images = [(number, f"{number}_U\u0308") for number in range(500)]
        pairs = pair_all(images, spool.keep(labels, File._make), spool, total=500)
        assert [number for number, _ in pairs.labels] == list(range(500))
        assert np.all([label.path == f"{number}_ü.png" for number, label in pairs.labels])
