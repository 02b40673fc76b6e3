"""The folder of an export: what it may hold before, and what of that is removed."""

import json
from pathlib import Path

import pytest

from stego_core.errors import InputError
from tasks.exports import target_folder
from tasks.storage.storage import Storage

NAMES = ("masks", "legend.json")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def prepare(out: Path, kind: str = "masks", **reserved: Path) -> None:
    folders = {what: str(folder) for what, folder in reserved.items()}
    target_folder.prepare(Storage.at(str(out)), kind, NAMES, folders)


def export_to(out: Path, marker: str = target_folder.MANIFEST, kind: str = "masks") -> None:
    """Files of an earlier export, whole or begun."""
    (out / "masks" / "day").mkdir(parents=True)
    (out / "masks" / "day" / "a.png").write_bytes(b"mask")
    (out / "legend.json").write_text("{}")
    (out / marker).write_text(json.dumps({"format": kind}))


def test_an_empty_folder_is_marked_as_begun(out: Path) -> None:
    (out / ".hidden").write_text("mine")
    prepare(out)
    begun = json.loads((out / target_folder.BEGUN).read_text())
    assert begun == {"format": "masks"}
    assert (out / ".hidden").read_text() == "mine"


@pytest.mark.parametrize("marker", [target_folder.MANIFEST, target_folder.BEGUN])
def test_an_earlier_export_is_removed(out: Path, marker: str) -> None:
    export_to(out, marker)
    prepare(out)
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert left == {target_folder.BEGUN}


def test_anything_else_is_refused_and_left(out: Path) -> None:
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt.* give an empty or a new place"):
        prepare(out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_what_lies_beside_an_earlier_export_is_refused(out: Path) -> None:
    export_to(out)
    (out / "more.txt").write_text("mine")
    with pytest.raises(InputError, match=r"more\.txt beside an earlier export"):
        prepare(out)
    assert (out / "masks" / "day" / "a.png").exists()


def test_an_export_of_another_format_is_refused(out: Path) -> None:
    export_to(out)
    with pytest.raises(InputError, match="holds an export of the format masks"):
        prepare(out, "coco")


@pytest.mark.parametrize("content", ["[]", "{}", "not JSON"])
def test_a_manifest_that_says_no_format_makes_no_export(out: Path, content: str) -> None:
    export_to(out)
    (out / target_folder.MANIFEST).write_text(content)
    with pytest.raises(InputError, match="no earlier export"):
        prepare(out)


def test_a_reserved_folder_is_refused_and_its_neighbour_is_not(tmp_path: Path) -> None:
    for inside in (tmp_path / "ws", tmp_path / "ws" / "exports"):
        with pytest.raises(InputError, match="lies inside workspace"):
            prepare(inside, workspace=tmp_path / "ws")
    prepare(tmp_path / "ws2", workspace=tmp_path / "ws")


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("s3://b/ws/exports/a", True), ("s3://b/ws/exports", False), ("s3://b/ws/exports2", False)],
)
def test_below_is_inside_and_not_the_same(folder: str, expected: bool) -> None:
    assert target_folder.below(Storage(folder), Storage("s3a://b/ws/exports/")) is expected
