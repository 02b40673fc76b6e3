"""What lies beside a dump: its list, what came later, and what changed under the same names."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from stego_core.errors import InputError, OutageError
from tasks.corpus import listing
from tasks.corpus import stage as corpus
from tasks.corpus.changed_files import NAMED_FILES, arrived_later, check_unchanged
from tasks.corpus.listing import LISTING_COLUMNS, list_images
from tasks.engine.steps import LoopExecutor
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

DUMP = "day"
COUNT = 8


def picture(seed: int, side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels))


def label(value: int) -> bytes:
    return encoded(Image.new("L", (8, 8), value))


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def fill(images: Storage, labels: Storage) -> None:
    """Eight images, the first two with labels, and one file that is no image."""
    for number in range(COUNT):
        images.write(f"{number}.png", picture(number))
    for number in range(2):
        labels.write(f"{number}.png", label(number))
    images.write("broken.png", b"not an image")


def index(workspace: Workspace, images: Storage, labels: Storage) -> None:
    options = CorpusOptions(images=images.uri, labels=labels.uri)
    stage = corpus.plan(workspace, DUMP, options)
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), range(stage.shards)))
    corpus.finish(workspace, stage, 0.0, 1)


class Dump:
    """A finished dump, and the folders that it came from."""

    def __init__(self, place: str) -> None:
        self.images, self.labels = Storage(f"{place}/images"), Storage(f"{place}/labels")
        self.workspace = Workspace.create(f"{place}/ws")
        fill(self.images, self.labels)
        index(self.workspace, self.images, self.labels)

    def check(self) -> None:
        check_unchanged(self.workspace, DUMP)

    def touch(self, path: str) -> None:
        """Write the same bytes again, at another time."""
        self.images.write(path, self.images.read(path))
        if self.images.is_local:
            os.utime(self.images.full(path), (1, 1))


@pytest.fixture(params=["local", "memory"])
def dump(request: pytest.FixtureRequest, tmp_path: Path) -> Dump:
    return Dump(str(tmp_path) if request.param == "local" else f"memory://{uuid4().hex}")


class TestUnchanged:
    def test_nothing_is_read_where_nothing_was_touched(
        self, dump: Dump, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[str] = []
        original = Storage.read_many

        def spy(self: Storage, paths: list[str]) -> list[bytes | None]:
            read.extend(paths)
            return original(self, paths)

        monkeypatch.setattr(Storage, "read_many", spy)
        dump.check()
        assert read == []
        dump.touch("3.png")
        dump.check()
        assert read == ["3.png"]

    def test_touched_files_are_the_same_files(self, dump: Dump) -> None:
        for number in range(COUNT):
            dump.touch(f"{number}.png")
        dump.check()

    def test_vanished_files_change_nothing(self, dump: Dump) -> None:
        dump.images.remove("0.png")
        dump.labels.remove("1.png")
        dump.check()

    def test_a_source_that_is_gone_changes_nothing(self, dump: Dump) -> None:
        for source in (dump.images, dump.labels):
            for file in source.files():
                source.remove(file.path)
        if dump.images.is_local:
            os.rmdir(dump.images.uri)
        dump.check()

    def test_a_source_out_of_reach_changes_nothing(
        self, dump: Dump, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_: Storage) -> None:
            raise OutageError("the store is away")

        monkeypatch.setattr(Storage, "files", away)
        dump.check()

    def test_files_that_came_later_are_not_the_dump_s(self, dump: Dump) -> None:
        dump.images.write("new.png", picture(99))
        dump.check()


class TestChanged:
    def test_another_image_under_the_same_name(self, dump: Dump) -> None:
        dump.images.write("3.png", picture(33, side=9))
        with pytest.raises(InputError, match=r"1 of its files changed.*: 3\.png; put") as refused:
            dump.check()
        said = str(refused.value)
        assert said.startswith("dump day is immutable")
        assert "--dump" in said

    def test_other_bytes_of_the_same_size(self, dump: Dump) -> None:
        content = bytearray(dump.images.read("3.png"))
        content[-20] ^= 1
        dump.images.write("3.png", bytes(content))
        with pytest.raises(InputError, match=r"3\.png"):
            dump.check()

    def test_a_label(self, dump: Dump) -> None:
        dump.labels.write("1.png", label(7))
        with pytest.raises(InputError, match=r"1 of its files changed since.*: 1\.png;"):
            dump.check()

    def test_many_are_counted_and_some_are_named(self, dump: Dump) -> None:
        for number in range(COUNT):
            dump.images.write(f"{number}.png", picture(50 + number))
        with pytest.raises(InputError, match="8 of its files changed") as refused:
            dump.check()
        assert "0.png, 1.png, 2.png, 3.png, 4.png and 3 more;" in str(refused.value)
        assert NAMED_FILES == 5

    def test_a_quarantined_file_that_was_mended(self, dump: Dump) -> None:
        """Its bytes were not described, but another size is another file."""
        dump.touch("broken.png")
        dump.check()
        dump.images.write("broken.png", picture(0))
        with pytest.raises(InputError, match=r"broken\.png"):
            dump.check()

    def test_an_indexed_dump_is_refused_before_any_work(self, dump: Dump) -> None:
        options = CorpusOptions(images=dump.images.uri, labels=dump.labels.uri)
        assert corpus.plan(dump.workspace, DUMP, options) is None
        dump.images.write("3.png", picture(33))
        with pytest.raises(InputError, match=r"3\.png"):
            corpus.plan(dump.workspace, DUMP, options)


class TestOnObjectStorage:
    def test_changed_and_touched(self, s3_environment: str) -> None:
        dump = Dump(s3_environment)
        dump.touch("2.png")
        dump.check()
        dump.images.write("3.png", picture(33))
        with pytest.raises(InputError, match=r"1 of its files changed.*: 3\.png;"):
            dump.check()


class TestArrivedLater:
    def test_none_at_first(self, dump: Dump) -> None:
        assert arrived_later(dump.workspace, DUMP) == []

    def test_images_only_and_in_order(self, dump: Dump) -> None:
        for path in ("z.png", "a/b.jpg", "notes.txt", ".hidden.png"):
            dump.images.write(path, b"1")
        assert arrived_later(dump.workspace, DUMP) == ["a/b.jpg", "z.png"]

    def test_a_source_that_is_gone(self, dump: Dump, tmp_path: Path) -> None:
        for file in dump.images.files():
            dump.images.remove(file.path)
        if dump.images.is_local:
            os.rmdir(dump.images.uri)
        assert arrived_later(dump.workspace, DUMP) == []


@pytest.fixture
def source() -> Callable[..., Storage]:
    def make(*paths: str) -> Storage:
        storage = Storage.at(f"memory://{uuid4().hex}/images")
        for number, path in enumerate(paths):
            storage.write(path, b"x" * number)
        return storage

    return make


class TestListed:
    def test_columns_are_those_of_the_table(self, source: Callable[..., Storage]) -> None:
        found = list_images(source("b.png", "a/c.jpg", "notes.txt"), None).columns
        assert list(found) == list(LISTING_COLUMNS)
        assert found["path"] == ["a/c.jpg", "b.png"]
        assert found["image_id"] == ["a/c", "b"]
        assert found["bytes"] == [1, 0]
        assert found["label"] == found["label_version"] == [None, None]
        assert len(set(found["version"])) == 2

    def test_images_that_differ_in_their_extension_keep_it(
        self, source: Callable[..., Storage]
    ) -> None:
        """Also where a disk would not tell their masks apart."""
        found = list_images(source("a.png", "a.jpg", "B.png", "b.PNG", "c.png"), None).columns
        ids = dict(zip(found["path"], found["image_id"], strict=True))
        assert ids == {
            "a.png": "a.png",
            "a.jpg": "a.jpg",
            "B.png": "B~f94748130d1f",
            "b.PNG": "b~c6fc938fcdce",
            "c.png": "c",
        }

    def test_labels_belong_by_path_and_stem(self, source: Callable[..., Storage]) -> None:
        labels = source("x/a.png", "b.tif", "c.txt")
        found = list_images(source("x/a.jpg", "a.jpg", "b.jpg", "c.jpg"), labels).columns
        belonging = dict(zip(found["path"], found["label"], strict=True))
        assert belonging == {"x/a.jpg": "x/a.png", "a.jpg": None, "b.jpg": "b.tif", "c.jpg": None}
        versions = dict(zip(found["label"], found["label_version"], strict=True))
        assert versions[None] is None
        assert {file.version for file in labels.files() if file.path != "c.txt"} == {
            versions["x/a.png"],
            versions["b.tif"],
        }

    def test_no_image_is_refused(self, source: Callable[..., Storage]) -> None:
        with pytest.raises(InputError, match=r"no images under memory://.*expected files ending"):
            list_images(source("notes.txt"), None)

    def test_labels_of_none_of_the_images_are_refused(self, source: Callable[..., Storage]) -> None:
        with pytest.raises(InputError, match=r"none of the 1 images.*same relative path and stem"):
            list_images(source("a.png"), source("b.png"))


class TestListing:
    def test_ids_stay_unique(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "a.png", "b/a.jpg", "B.png", "notes.txt", ".hidden.jpg"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        found = listing.list_images(Storage.at(str(tmp_path)), None).columns
        assert dict(zip(found["path"], found["image_id"], strict=True)) == {
            "B.png": "B", "a.jpg": "a.jpg", "a.png": "a.png", "b/a.jpg": "b/a",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("uri", "name"),
        [("imgs/train", "train"), ("s3://b/x y/", "x-y"), ("/", "images"), ("../..", "images")],
    )
    def test_default_dump(self, uri: str, name: str) -> None:
        assert listing.default_dump(uri) == name
