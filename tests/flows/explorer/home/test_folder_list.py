"""Folders of this machine, as a person chooses among them."""

from pathlib import Path

import pytest

from flows.explorer.home import folder_list
from stego_core.errors import InputError


def test_a_folder(tmp_path: Path) -> None:
    for name in ("b", "A", ".hidden"):
        (tmp_path / name).mkdir()
    for name in ("x.jpg", "y.mp4", "notes.txt", ".z.png"):
        (tmp_path / name).touch()
    listing = folder_list.listing(f"{tmp_path}/A/..")
    assert listing == {
        "path": str(tmp_path), "parent": str(tmp_path.parent), "folders": ["A", "b"],
        "images": 2, "more": False,
    }  # fmt: skip


def test_the_top_and_the_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_list.listing("/")["parent"] is None
    assert folder_list.listing(" ")["path"] == str(tmp_path)


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / f"f{number}").mkdir()
    monkeypatch.setattr(folder_list, "MOST_FOLDERS", 3)
    listing = folder_list.listing(str(tmp_path))
    assert (listing["folders"], listing["more"]) == (["f0", "f1", "f2"], True)


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "nowhere"):
        with pytest.raises(InputError, match="cannot be opened"):
            folder_list.listing(str(tmp_path / name))
