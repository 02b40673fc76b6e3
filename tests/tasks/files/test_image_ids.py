"""Ids: as many as images, told apart by every disk, and those of ordinary folders as ever."""

import itertools
import unicodedata
from collections import Counter
from hashlib import blake2b
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.files import image_names
from tasks.files.image_ids import image_ids
from tasks.files.image_names import NAME_BYTES, RESERVED, clashes, folded, folders_of, stem

PIECES = ["a", "A", "b", "scan", "SCAN", ".jpg", ".png", ".PNG", ".", " ", "%20", "\\", "~", "ü",
          "u\u0308", "ß", "ss", "ı", "İ", "ﬁ", "日本", "x" * 120, "plan.json",
          "#", "?"]  # fmt: skip
PART = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)
ENDING = st.sampled_from([".jpg", ".png", ".PNG", ".jpg.jpg", ".tif"])
FOLDERS = st.lists(PART, max_size=2).map("/".join)


def path(folder: str, name: str, ending: str) -> str:
    """A file's path; parts that no file has are replaced."""
    parts = [part if part.strip(". ") else f"_{part}" for part in f"{folder}/{name}".split("/")]
    return "/".join(part[-240:] for part in parts if part != "_").lstrip("/") + ending


PATHS = st.lists(st.builds(path, FOLDERS, PART, ENDING), min_size=1, max_size=12, unique=True)


def on_disk(name: str) -> str:
    """What a disk that knows neither case nor Unicode form takes a mask's path for."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
    return "/".join(part.rstrip(" .") for part in plain.split("/"))


def ids_of(*paths: str) -> dict[str, str]:
    return dict(zip(paths, image_ids(lambda: ((p, stem(p)) for p in paths)), strict=True))


@given(PATHS)
def test_n_images_have_n_masks_everywhere(paths: list[str]) -> None:
    paths = [p for p in paths if p not in {str(f) for q in paths for f in PurePosixPath(q).parents}]
    ids = list(ids_of(*paths).values())
    masks = {on_disk(f"{name}.png") for name in ids}
    assert len(masks) == len(paths)
    folders = {str(f) for mask in masks for f in PurePosixPath(mask).parents}
    overlays = {on_disk(f"{name}.jpg") for name in ids}
    assert not folders & (masks | overlays | RESERVED)
    assert all(len(name.rpartition("/")[2].encode()) <= NAME_BYTES for name in ids)


def plain_ids(paths: list[str]) -> list[str]:
    """The same, by names instead of hashes, all of them in memory."""
    ids = [stem(path) for path in paths]
    while True:
        counts = Counter(map(folded, ids))
        longer = [p if counts[folded(i)] > 1 else i for i, p in zip(ids, paths, strict=True)]
        if longer == ids:
            break
        ids = longer
    folders = {folder for name in ids for folder in folders_of(folded(name))}
    clashing = [i for i, n in enumerate(ids) if counts[folded(n)] > 1 or clashes(n, folders)]
    taken = {folded(name) for name in ids} - {folded(ids[i]) for i in clashing}
    for image in clashing:
        folder, _, last = paths[image].rpartition("/")
        if folded(folder).partition("/")[0] in RESERVED or len(folder.encode()) > 700 - 251:
            folder = ""
        start = stem(last).encode()[:100].decode("utf-8", "ignore")
        for number in itertools.count():
            digest = blake2b(f"{number}/{paths[image]}".encode(), digest_size=6).hexdigest()
            name = f"{folder}/{start}~{digest}".lstrip("/")
            if folded(name) not in taken and not clashes(name, folders):
                break
        ids[image] = name
        taken.add(folded(name))
    return ids


@given(PATHS)
def test_ids_are_those_of_whole_names(paths: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_names, "COMPARED_AT_ONCE", 3)
        assert list(ids_of(*paths).values()) == plain_ids(paths)


def test_of_no_image() -> None:
    assert ids_of() == {}


class TestIds:
    def test_of_ordinary_folders_are_stems(self) -> None:
        assert ids_of("a/1.jpg", "b/1.jpg", "2.png", "c.d.png") == {
            "a/1.jpg": "a/1", "b/1.jpg": "b/1", "2.png": "2", "c.d.png": "c.d",
        }  # fmt: skip

    def test_a_stem_that_is_another_s_name(self) -> None:
        found = ids_of("scan.jpg", "scan.png", "scan.jpg.jpg", "other.png")
        assert list(found.values()) == ["scan.jpg", "scan.png", "scan.jpg.jpg", "other"]

    def test_a_folder_that_is_called_as_a_mask(self) -> None:
        found = ids_of("a.jpg", "a.png/b.jpg")
        assert found["a.png/b.jpg"] == "a.png/b"
        assert found["a.jpg"].startswith("a~")

    def test_a_folder_that_is_called_as_the_plan(self) -> None:
        assert ids_of("plan.json/a.jpg")["plan.json/a.jpg"].startswith("a~")

    def test_names_that_would_be_too_long_with_both_endings(self) -> None:
        name = "x" * 251
        found = ids_of(f"{name}.jpg", f"{name}.png")
        assert len(set(found.values())) == 2
        assert all(len(f"{i}.png") <= 255 for i in found.values())

    @pytest.mark.parametrize(
        ("one", "other"), [("a.PNG", "A.png"), ("ü.png", "u\u0308.png"), ("a .png", "a.png")]
    )
    def test_twins(self, one: str, other: str) -> None:
        first, second = ids_of(one, other).values()
        assert folded(first) != folded(second)
