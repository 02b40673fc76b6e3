"""Files of a local disk: whole or not at all, whatever ends the write."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tasks.storage import spool
from tasks.storage.local_files import walked, write_local


def every_file(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def writer(content: bytes) -> Any:
    return lambda file: file.write(content)


def test_folders_above_are_made_and_a_file_is_replaced(tmp_path: Path) -> None:
    target = str(tmp_path / "a/b/c")
    for content in (b"first and long", b"then", b""):
        write_local(target, writer(content))
        assert Path(target).read_bytes() == content
    assert every_file(tmp_path) == ["a/b/c"]


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt()])
def test_a_writer_that_breaks_off_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def fill(file: BinaryIO) -> None:
        file.write(b"new")
        raise error

    with pytest.raises(type(error)):
        write_local(str(target), fill)
    assert every_file(tmp_path) == ["a"]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("error", [OSError(5, "input/output"), KeyboardInterrupt()])
def test_the_old_file_stays_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    write_local(str(tmp_path / "a/b"), writer(b"old"))

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.raises(type(error)):
        write_local(str(tmp_path / "a/b"), writer(b"new and longer"))
    monkeypatch.undo()
    assert (tmp_path / "a/b").read_bytes() == b"old"
    assert every_file(tmp_path) == ["a/b"]


def test_a_reader_never_sees_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a"
    write_local(str(target), writer(b"old"))
    seen = []
    fsync = os.fsync

    def peek(descriptor: int) -> None:
        seen.append(target.read_bytes())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", peek)
    write_local(str(target), writer(b"new"))
    assert seen == [b"old", b"new"]  # when the file is flushed, and then its folder


def test_a_disk_that_cannot_flush_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def some(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(22, "a network file system cannot")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", some)
    write_local(str(tmp_path / "a"), writer(b"1"))
    assert (tmp_path / "a").read_bytes() == b"1"


class TestWalked:
    @pytest.mark.parametrize("in_memory", [2, 100])
    def test_files_come_by_their_whole_paths(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
    ) -> None:
        monkeypatch.setattr(spool, "SORTED_AT_ONCE", in_memory)
        paths = ["a/b.jpg", "a.jpg", "a-1.jpg", "a/c/d.jpg", "b", "é.jpg", "Z.jpg", "a\n.jpg"]
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"x" * len(path))
        (tmp_path / "empty").mkdir()
        found = list(walked(str(tmp_path)))
        names = [info["name"].removeprefix(f"{tmp_path}/") for info in found]
        assert names == sorted(paths)
        for name, info in zip(names, found, strict=True):
            status = (tmp_path / name).stat()
            assert (info["size"], info["mtime"]) == (len(name), status.st_mtime)

    def test_links_are_not_followed_but_have_the_size_of_their_file(self, tmp_path: Path) -> None:
        (tmp_path / "in/sub").mkdir(parents=True)
        (tmp_path / "file").write_bytes(b"12345")
        for name, target in (("file", "file"), ("gone", "none"), ("folder", "in/sub")):
            (tmp_path / "in" / name).symlink_to(tmp_path / target)
        found = {info["name"].rpartition("/")[2]: info for info in walked(str(tmp_path / "in"))}
        assert list(found) == ["file", "folder", "gone"]
        assert (found["file"]["size"], found["gone"]["size"]) == (5, 0)
        assert found["file"]["mtime"] == os.lstat(tmp_path / "in/file").st_mtime

    def test_no_folder(self, tmp_path: Path) -> None:
        assert list(walked(str(tmp_path / "none"))) == []
