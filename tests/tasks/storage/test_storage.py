"""Bytes under a URI come back as written, and every refusal says what to do."""

import errno
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from fsspec.registry import _registry as opened_before
from hypothesis import given, settings
from hypothesis import strategies as st

from stego_core.errors import CapacityError, InputError, OutageError, WorkspaceError
from tasks.storage import storage as module
from tasks.storage.fsspec_packages import filesystem_of
from tasks.storage.refusal_errors import write_errors
from tasks.storage.s3 import CREDENTIALS, AccessError
from tasks.storage.storage import Storage

NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=40
).filter(lambda name: name not in {".", ".."} and name == name.strip())


def every_file(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def sizes(place: Storage) -> list[tuple[str, int]]:
    return [(file.path, file.bytes) for file in place.files()]


class Refusing:
    """A filesystem that answers every call with one exception."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def invalidate_cache(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: Any, **__: Any) -> None:
            raise self.error

        return refuse


class TestRoundTrip:
    def test_reads_what_was_written(self, storage: Storage) -> None:
        storage.write("masks/k/day 1/straße.png", b"\x00\xff")
        assert storage.read("masks/k/day 1/straße.png") == b"\x00\xff"

    def test_replaces_and_empties_a_file(self, storage: Storage) -> None:
        storage.write("a", b"first, and longer")
        storage.write("a", b"")
        assert storage.read("a") == b""

    @settings(max_examples=50)
    @given(folder=NAMES, name=NAMES, content=st.binary(max_size=200))
    def test_any_name_and_content_on_disk(self, folder: str, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as root:
            path = f"{folder}/{name}"
            place = Storage.at(root)
            place.write(path, content)
            assert place.read(path) == content
            assert place.names(folder) == [name]
            assert sizes(place) == [(path, len(content))]

    @settings(max_examples=50)
    @given(folder=NAMES, name=NAMES, content=st.binary(max_size=200))
    def test_any_name_and_content_in_memory(self, folder: str, name: str, content: bytes) -> None:
        place = Storage.at(f"memory://{uuid4().hex}")
        path = f"{folder}/{name}"
        place.write(path, content)
        assert place.read(path) == content
        assert place.names(folder) == [name]

    def test_the_longest_name_that_a_disk_takes(self, local: Storage) -> None:
        name = "ö" * 125 + ".png"  # 254 bytes
        local.write(f"masks/{name}", b"1")
        assert local.read(f"masks/{name}") == b"1"

    def test_a_local_file_is_uploaded_whole(self, storage: Storage, tmp_path: Path) -> None:
        for content in (b"longer than a part, three times over", b"short", b""):
            (tmp_path / "made").write_bytes(content)
            storage.upload("export/annotations.json", tmp_path / "made")
            assert storage.read("export/annotations.json") == content
        assert storage.names("export") == ["annotations.json"]

    def test_opened_reads_a_part(self, storage: Storage) -> None:
        storage.write("a/b", bytes(range(100)))
        with storage.opened("a/b") as file:
            file.seek(40)
            assert file.read(3) == bytes([40, 41, 42])

    def test_travels_to_workers(self, storage: Storage) -> None:
        storage.write("a", b"1")
        assert pickle.loads(pickle.dumps(storage)) == storage  # noqa: S301


class TestLooking:
    def test_a_missing_file(self, storage: Storage) -> None:
        with pytest.raises(FileNotFoundError):
            storage.read("none")

    def test_a_file_below_a_file_is_missing_too(self, local: Storage) -> None:
        local.write("a", b"1")
        with pytest.raises(FileNotFoundError):
            local.read("a/b")

    def test_exists_sees_files_and_folders(self, storage: Storage) -> None:
        assert not storage.exists("a")
        storage.write("a/b", b"1")
        assert storage.exists("a")
        assert storage.exists("a/b")
        assert not storage.exists("a/c")

    def test_names_of_a_missing_folder(self, storage: Storage) -> None:
        assert storage.names("none") == []

    def test_names_are_direct_and_sorted(self, storage: Storage) -> None:
        for path in ("x/b", "x/a", "x/deep/c", "y"):
            storage.write(path, b"1")
        assert storage.names("x") == ["a", "b", "deep"]

    def test_names_below_a_file(self, local: Storage) -> None:
        local.write("a", b"1")
        assert local.names("a/b") == []


class TestFiles:
    def test_recursive_with_unicode_and_spaces(self, storage: Storage) -> None:
        paths = ["z.jpg", "été/日本 語.png", "a b/c d/e f.jpg", "a b/%20#?[1]*.jpg"]
        for size, path in enumerate(paths):
            storage.write(path, b"x" * size)
        assert sizes(storage) == sorted((path, size) for size, path in enumerate(paths))

    def test_sorted_by_whole_paths_a_folder_at_a_time(self, storage: Storage) -> None:
        names = ["a.b", "a/b", "a/b.c/d", "a/b-c", "a0", "a b/c", "A/b", "é/z", "a/b/c/d"]
        names.remove("a/b")  # a file and a folder
        for name in names:
            storage.write(name, b"x")
        assert [file.path for file in storage.each_file()] == sorted(names)
        assert storage.files() == list(storage.each_file())

    def test_what_it_lists_can_be_read(self, storage: Storage) -> None:
        for path in ("été/日本 語.png", "a b/%20#?[1]*.jpg"):
            storage.write(path, path.encode())
        for path, _ in sizes(storage):
            assert storage.read(path) == path.encode()

    def test_sees_files_that_arrived_since(self, storage: Storage) -> None:
        storage.write("a", b"1")
        assert len(storage.files()) == 1
        storage.write("b", b"1")
        assert len(storage.files()) == 2

    def test_forgets_a_cached_listing_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        fake = SimpleNamespace(
            invalidate_cache=lambda: calls.append("forget"),
            find=lambda root, detail: calls.append("find") or {f"{root}/a": {"size": 2}},
        )
        monkeypatch.setattr(module, "_filesystem", lambda uri: fake)
        assert sizes(Storage("memory://bucket")) == [("a", 2)]
        assert calls == ["forget", "find"]

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        assert Storage.at(str(tmp_path)).files() == []

    def test_a_place_that_does_not_exist(self, storage: Storage) -> None:
        with pytest.raises(InputError, match="does not exist; give an existing folder"):
            storage.files()

    def test_an_unknown_protocol(self) -> None:
        with pytest.raises(InputError, match="bogus"):
            Storage.at("bogus://x").files()


class TestLocations:
    def test_relative_and_home_become_absolute(self, inside: Path) -> None:
        assert Storage.at("ws").uri == str(inside / "ws")
        assert Storage.at("./x/../ws/").uri == str(inside / "ws")
        assert Storage.at("~/ws").uri == os.path.expanduser("~/ws")

    @pytest.mark.parametrize("scheme", ["file", "local"])
    def test_a_file_uri_is_a_local_path(self, scheme: str, tmp_path: Path) -> None:
        place = Storage.at(f"{scheme}://{tmp_path}/ws")
        assert (place.uri, place.is_local) == (f"{tmp_path}/ws", True)

    def test_a_trailing_slash_changes_nothing(self) -> None:
        assert Storage.at("s3://bucket/ws/") == Storage.at("s3://bucket/ws")
        assert not Storage.at("s3://bucket/ws").is_local

    @pytest.mark.parametrize("location", ["", "  ", "s3://", "memory://", "s3:///"])
    def test_no_place_at_all(self, location: str) -> None:
        with pytest.raises(InputError, match="names no place; expected a folder"):
            Storage.at(location)

    @pytest.mark.parametrize(
        "uri",
        [
            "s3://me:geheim@bucket/ws",
            "s3://me:ge/heim@bucket/ws",
            "ftp://:geheim@host/x",
            "simplecache::s3://me:geheim@bucket/ws",
            "http://me:geheim@[::1/x",
        ],
    )
    def test_a_password_is_refused_and_not_echoed(self, uri: str) -> None:
        with pytest.raises(InputError, match="holds a password; give credentials") as caught:
            Storage.at(uri)
        assert "geheim" not in str(caught.value)
        assert "heim" not in str(caught.value)

    @pytest.mark.parametrize(
        "uri", ["s3://bucket/a:b@c", "http://host:8080/a@b", "ftp://me@host/x", "s3://b/12:30"]
    )
    def test_colons_and_ats_elsewhere_are_no_password(self, uri: str) -> None:
        assert Storage.at(uri).uri == uri

    @pytest.mark.parametrize("path", ["../x", "a/../../x", "a/..", "..", "/etc/passwd", "//x"])
    def test_paths_stay_inside(self, storage: Storage, path: str) -> None:
        with pytest.raises(WorkspaceError, match="leaves"):
            storage.read(path)
        with pytest.raises(WorkspaceError, match="leaves"):
            storage.write(path, b"1")

    def test_dots_within_a_name_are_a_name(self, storage: Storage) -> None:
        storage.write("a..b/..c", b"1")
        assert storage.read("a..b/..c") == b"1"


class TestWritingFails:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk(
        self, local: Storage, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def full(_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(CapacityError, match="free some and run the same command again") as why:
            local.write("a", b"1")
        assert local.uri in str(why.value)
        assert every_file(Path(local.uri)) == []

    def test_a_workspace_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        for path in ("a", "a/b"):
            with pytest.raises(WorkspaceError, match=r"notes\.txt cannot be written"):
                Storage.at(str(tmp_path / "notes.txt")).write(path, b"1")
        assert (tmp_path / "notes.txt").read_text() == "x"

    def test_a_folder_in_the_file_s_place(self, local: Storage) -> None:
        local.write("a/b", b"1")
        with pytest.raises(WorkspaceError, match="cannot be written"):
            local.write("a", b"1")
        assert every_file(Path(local.uri)) == ["a/b"]

    @pytest.mark.parametrize(
        "number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOENT]
    )
    def test_places_that_cannot_be_written(self, number: int) -> None:
        refused = pytest.raises(WorkspaceError, match="s3://b/ws cannot be written")
        with refused, write_errors("s3://b/ws"):
            raise OSError(number, os.strerror(number))

    def test_a_name_beyond_what_a_disk_takes(self, local: Storage) -> None:
        with pytest.raises(WorkspaceError, match="cannot be written"):
            local.write("a" * 300, b"1")
        assert every_file(Path(local.uri)) == []

    def test_transient_errors_are_passed_on_for_a_retry(self) -> None:
        with pytest.raises(TimeoutError), write_errors("s3://b/ws"):
            raise TimeoutError("slow")


class TestObjectStores:
    """What packages of object stores raise ends in one sentence."""

    def test_without_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        error = AccessError(f"Unable to locate credentials; {CREDENTIALS}")
        monkeypatch.setattr(module, "_filesystem", lambda uri: Refusing(error))
        place = Storage("s3://bucket/ws")
        with pytest.raises(WorkspaceError, match="give credentials through the environment"):
            place.read("a")
        with pytest.raises(WorkspaceError, match="give credentials through the environment"):
            place.write("a", b"1")
        with pytest.raises(InputError, match="give credentials through the environment"):
            place.files()

    def test_errors_of_other_stores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        error = EOFError("store:9 hung up\nlong story")
        monkeypatch.setattr(module, "_filesystem", lambda uri: Refusing(error))
        place = Storage("http://store:9/images")
        with pytest.raises(InputError, match=r"cannot be listed: store:9 hung up$"):
            place.files()
        with pytest.raises(OutageError, match="store:9 hung up"):
            place.read("a")
        with pytest.raises(WorkspaceError, match=r"cannot be written: store:9 hung up$"):
            place.write("a", b"1")


def test_local_work_imports_no_client_of_s3() -> None:
    """They take a second."""
    code = (
        "import sys; from tasks.storage import storage; "
        "from tasks.workspace import arrays, workspace; "
        "storage.Storage.at('/tmp').names(''); "
        "print(sorted({'s3fs', 'botocore', 'aiobotocore', 'aiohttp'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize(
    ("uri", "extra", "package"),
    [("gs://b/a", "gcs", "gcsfs"), ("az://b/a", "azure", "adlfs")],
)
def test_a_package_that_is_missing_is_named(
    uri: str, extra: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(opened_before, uri.split("://")[0], raising=False)
    filesystem_of.cache_clear()
    with pytest.raises(InputError, match=rf"pip install 'stego-flows\[{extra}\]'"):
        Storage.at(uri).files()


def test_ranges(storage: Storage) -> None:
    storage.write("a", bytes(range(200)))
    assert storage.read_range("a", 10, 5) == bytes(range(10, 15))
    assert storage.read_range("a", 190, 50) == bytes(range(190, 200))
    with pytest.raises(FileNotFoundError):
        storage.read_range("b", 0, 1)
