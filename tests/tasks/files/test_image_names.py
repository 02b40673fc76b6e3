"""Ids: as many as images, told apart by every disk, and those of ordinary folders as ever."""

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stego_core.errors import InputError
from tasks.files.image_names import NAME_BYTES, RESERVED, folded, image_ids, require_distinct, stem

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


@given(PATHS)
def test_n_images_have_n_masks_everywhere(paths: list[str]) -> None:
    paths = [p for p in paths if p not in {str(f) for q in paths for f in PurePosixPath(q).parents}]
    ids = image_ids(paths, [stem(p) for p in paths])
    masks = {on_disk(f"{name}.png") for name in ids}
    assert len(masks) == len(paths)
    folders = {str(f) for mask in masks for f in PurePosixPath(mask).parents}
    overlays = {on_disk(f"{name}.jpg") for name in ids}
    assert not folders & (masks | overlays | RESERVED)
    assert all(len(name.rpartition("/")[2].encode()) <= NAME_BYTES for name in ids)
    require_distinct(ids, paths)
    assert image_ids(paths, [stem(p) for p in paths]) == ids


def ids_of(*paths: str) -> dict[str, str]:
    return dict(zip(paths, image_ids(paths, [stem(p) for p in paths]), strict=True))


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


def test_a_listing_with_one_id_twice_is_refused() -> None:
    with pytest.raises(InputError, match=r"masks of a\.jpg and A\.png would both be called A"):
        require_distinct(["a", "A"], ["a.jpg", "A.png"])
