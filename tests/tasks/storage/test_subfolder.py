"""A folder below another by a name from elsewhere: names and links that lead out are refused."""

import os
from pathlib import Path

import pytest

from stego_core.errors import InputError, OptionError
from tasks.storage.storage import Storage
from tasks.storage.subfolder import LONGEST_PART, inside, relative


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_plain_names_are_folders_below(root: Path) -> None:
    for name in ("coco", "a/b/c/d", "Straße 7", "日本語", "v1.2+x", "a_b-c", "1", "a b", "x" * 100):
        assert inside(Storage(str(root)), name).uri == f"{root}/{name}"
    assert relative("e\u0301") == "\u00e9"  # one name however its letters are written
    bucket = Storage("s3://bucket/prefix")
    assert inside(bucket, "summer/coco").uri == "s3://bucket/prefix/summer/coco"
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("place", ["/tmp/root", "s3://bucket/prefix"])
@pytest.mark.parametrize("name", [
    "", ".", "..", "../x", "a/../b", "/x", "a//b", "a/", "a\\b", "C:x", "~", "s3://b/x", "a\x00",
    "a\n",
    "..\u2044x", "\uff0e\uff0e", "%2e%2e", "a.", ".a", "a/b/c/d/e", "CON", "com1.txt",
    "x" * (LONGEST_PART + 1),
    "é" * 51, "\ud800", "a?b", "a#b", "*", "a\u202eb",
])  # fmt: skip
def test_names_that_are_none(place: str, name: str) -> None:
    with pytest.raises(OptionError, match="cannot be a folder's"):
        inside(Storage(place), name)


def test_links_that_lead_out(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "coco").mkdir()
    (root / "coco" / "masks").symlink_to(outside)
    (root / "voc").mkdir()
    (root / "voc" / "export.json").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "circle").symlink_to(root / "circle")
    (root / "back").symlink_to(root / "coco")
    (root / "pipes").mkdir()
    os.mkfifo(root / "pipes" / "export.json")
    for name in (
        "link",
        "link/x",
        "coco",
        "voc",
        "dangling",
        "dangling/x",
        "circle/x",
        "back",
        "pipes",
    ):
        with pytest.raises(InputError, match=r"link|neither"):
            inside(Storage(str(root)), name)
    assert list(outside.iterdir()) == []


def test_a_root_that_became_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").symlink_to(root)
    with pytest.raises(InputError, match="is a link"):
        inside(Storage(str(tmp_path / "moved")), "coco")
    with pytest.raises(InputError, match="is a link"):
        inside(Storage(str(tmp_path / "moved" / "exports")), "coco")


def test_an_earlier_export_is_fine(root: Path) -> None:
    (root / "coco" / "masks").mkdir(parents=True)
    (root / "coco" / "export.json").write_text("{}")
    assert inside(Storage(str(root)), "coco").uri == f"{root}/coco"
