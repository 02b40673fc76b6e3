"""Entries of a listing: a file, each of its pages, and frames of videos, in the order of paths."""

import io
from typing import Any

import pytest
from PIL import Image

from tasks.files.entries import Entry, entries_of
from tasks.storage.spool import Spool
from tasks.storage.storage import Storage


def stack(pages: int) -> bytes:
    sink = io.BytesIO()
    first, *others = [Image.new("L", (4, 3), shade) for shade in range(pages)]
    first.save(sink, "TIFF", save_all=True, append_images=others)
    return sink.getvalue()


@pytest.fixture
def root(storage: Storage) -> Storage:
    contents = {"a/b.tif": stack(3), "c.TIFF": stack(1), "d.png": b"x", "e.tif": b"torn"}
    for path, content in contents.items():
        storage.write(path, content)
    return storage


def listed(*given: Any, **more: Any) -> list[Entry]:
    with Spool() as spool:
        return list(entries_of(*given, spool=spool, **more))


def named(entries: list[Entry]) -> list[tuple[str, str, int | None]]:
    return [(entry.whole, entry.short, entry.page) for entry in entries]


def test_one_image_of_each_file(root: Storage) -> None:
    entries = listed(root, root.files(), None, every_page=False)
    assert named(entries) == [
        ("a/b.tif", "a/b", None), ("c.TIFF", "c", None), ("d.png", "d", None), ("e.tif", "e", None),
    ]  # fmt: skip
    assert all(entry.moment is None for entry in entries)


def test_pages_lie_in_a_folder_of_the_file_s_name(root: Storage) -> None:
    entries = listed(root, root.files(), None, every_page=True)
    pages = [(f"a/b.tif/p000{n + 1}", f"a/b/p000{n + 1}", n) for n in range(3)]
    assert named(entries)[:3] == pages
    assert named(entries)[3:] == [("c.TIFF", "c", None), ("d.png", "d", None), ("e.tif", "e", None)]


def test_frames_come_where_their_path_does(root: Storage) -> None:
    rows = [("clip/2.png", 20, "clip.mp4", 0.5), ("b/1.png", 10, "b.mp4", 0.0)]
    frames = (dict(zip(("path", "bytes", "clip", "seconds"), row, strict=True)) for row in rows)
    entries = listed(root, root.files(), frames, every_page=False)
    moments = {"b/1.png": ("b.mp4", 0.0), "clip/2.png": ("clip.mp4", 0.5)}
    paths = ["a/b.tif", "b/1.png", "c.TIFF", "clip/2.png", "d.png", "e.tif"]
    assert [entry.file.path for entry in entries] == paths
    assert {e.file.path: e.moment for e in entries if e.moment} == moments
    assert [entry.file.bytes for entry in entries if entry.moment] == [10, 20]


def test_a_file_that_cannot_be_read_counts_once(storage: Storage) -> None:
    storage.write("x.tif", b"1")
    files = storage.files()
    storage.remove("x.tif")
    assert named(listed(storage, files, None, every_page=True)) == [("x.tif", "x", None)]
