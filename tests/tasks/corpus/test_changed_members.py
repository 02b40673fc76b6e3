"""Archives and lists of a finished dump that change: refused by name, or told as later."""

import os
from pathlib import Path

import pytest
from archives import label_png, png, tar_bytes
from piles import indexed
from web_server import serving

from stego_core.errors import InputError, WorkspaceError
from tasks.corpus import stage as corpus
from tasks.corpus.changed_files import arrived_later, check_unchanged
from tasks.options import CorpusOptions
from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


def touch(path: Path, content: bytes) -> None:
    """Write a file whose time of change is another one in any case."""
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))


def test_an_archive(tmp_path: Path, workspace: Workspace) -> None:
    path = tmp_path / "x.tar"
    files = {"a.png": png(0), "a.seg.png": label_png(0, 1), "b.png": png(1)}
    path.write_bytes(tar_bytes(files))
    indexed(tmp_path, images=path)
    check_unchanged(workspace, "d")
    touch(path, tar_bytes(files))
    check_unchanged(workspace, "d")
    touch(path, tar_bytes({**files, "c.png": png(2)}))
    check_unchanged(workspace, "d")
    touch(path, tar_bytes({**files, "b.png": png(3)}))
    with pytest.raises(InputError, match=r"1 of its files changed .*: x.tar/b.png"):
        check_unchanged(workspace, "d")
    touch(path, tar_bytes({**files, "a.seg.png": label_png(1, 0)}))
    with pytest.raises(InputError, match=r"x.tar/a.seg.png"):
        check_unchanged(workspace, "d")
    touch(path, b"short")
    with pytest.raises(InputError, match="3 of its files changed"):
        check_unchanged(workspace, "d")
    path.unlink()
    check_unchanged(workspace, "d")


def test_the_same_command_again_costs_nothing_and_another_is_refused(
    tmp_path: Path, workspace: Workspace
) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes({"a.png": png(0)}))
    indexed(tmp_path, images=tmp_path / "x.tar")
    options = CorpusOptions(images=str(tmp_path / "x.tar"))
    assert corpus.plan(workspace, "d", options) is None
    (tmp_path / "l.txt").write_text("a.png")
    with pytest.raises(WorkspaceError, match="another --images"):
        corpus.plan(workspace, "d", CorpusOptions(images=str(tmp_path / "l.txt")))


def test_archives_that_come_later(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "x-0.tar").write_bytes(tar_bytes({"a.png": png(0)}))
    indexed(tmp_path, images=f"{tmp_path}/x-*.tar")
    assert arrived_later(workspace, "d") == []
    (tmp_path / "x-1.tar").write_bytes(tar_bytes({"b.png": png(1)}))
    assert arrived_later(workspace, "d") == [f"{tmp_path}/x-1.tar"]


def test_a_list(tmp_path: Path, workspace: Workspace) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "l.png").write_bytes(label_png(0, 1))
    path = tmp_path / "l.csv"
    path.write_text("url,label\n0.png,l.png\n1.png,\n")
    indexed(tmp_path, images=path, label_column="label")
    check_unchanged(workspace, "d")
    assert arrived_later(workspace, "d") == []
    touch(path, b"url,label\n2.png,\n1.png,\n0.png,l.png\n")
    check_unchanged(workspace, "d")
    assert arrived_later(workspace, "d") == ["2.png"]
    touch(path, b"url,label\n1.png,l.png\n0.png,l.png\n")
    with pytest.raises(InputError, match=r"1 of its files changed .*: 1.png"):
        check_unchanged(workspace, "d")
    touch(path, b"url,label\n0.png,l.png\n")
    check_unchanged(workspace, "d")
    touch(tmp_path / "1.png", png(7))
    touch(tmp_path / "l.png", label_png(1, 0))
    with pytest.raises(InputError, match=r"2 of its files changed .*: l.png, 1.png"):
        check_unchanged(workspace, "d")


def test_a_list_with_other_ids(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "0.png").write_bytes(png(0))
    path = tmp_path / "l.csv"
    path.write_text("url,id\n0.png,a\n")
    indexed(tmp_path, images=path)
    touch(path, b"url,id\n0.png,bb\n")
    with pytest.raises(InputError, match=r"changed .*: 0.png"):
        check_unchanged(workspace, "d")


def test_images_of_the_web_are_not_asked_for(tmp_path: Path, workspace: Workspace) -> None:
    with serving(files={"a.png": png(0)}) as web:
        (tmp_path / "l.txt").write_text(f"{web.url}/a.png")
        indexed(tmp_path, images=tmp_path / "l.txt")
        web.requests.clear()
        check_unchanged(workspace, "d")
        assert web.requests == []
