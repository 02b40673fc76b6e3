"""The list of a dump: its images, their ids and their labels."""

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from stego_core.errors import InputError
from tasks.corpus import listing
from tasks.corpus.listing import LISTING_COLUMNS, list_images
from tasks.files import image_names, video_files
from tasks.labels import label_pairs
from tasks.storage import spool as spools
from tasks.storage.spool import Spool
from tasks.storage.storage import File, Storage
from tasks.workspace import tables


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

    def test_ids_of_names_that_disks_confuse_stay_what_they_were(
        self, source: Callable[..., Storage]
    ) -> None:
        """Another id would be another mask's name: a dump goes on under the ids it began with."""
        ids = {
            "A.JPG": "A~d12f3b5d2337",
            "B/a.jpg": "B/a~e20a328168ea",
            "a.jpg": "a~15a647bae438",
            "a.png": "a.png",
            "b/A.png": "b/A.png",
            "b/a.jpg": "b/a~e30d972c1eac",
            "e.jpg": "e~4a444dad59ee",
            "e.png/b.jpg": "e.png/b",
            "plan.json/a.jpg": "a~30f0589d71ff",
            "scan.jpg": "scan.jpg",
            "scan.jpg.jpg": "scan.jpg.jpg",
            "scan.png": "scan.png",
            "ss.jpg": "ss~9a7b6b51bae0",
            "u\u0308.jpg": "u\u0308.jpg",
            "ß.jpg": "ß~e029edb26289",
            "ü.png": "ü.png",
        }
        found = list_images(source(*ids), None).columns
        assert dict(zip(found["path"], found["image_id"], strict=True)) == ids

    @pytest.mark.parametrize(
        ("uri", "name"),
        [("imgs/train", "train"), ("s3://b/x y/", "x-y"), ("/", "images"), ("../..", "images")],
    )
    def test_default_dump(self, uri: str, name: str) -> None:
        assert listing.default_dump(uri) == name


class TestMemory:
    """Of a listing, whose rows pass by: some bytes an image, not the row."""

    BYTES = 64
    """More than an image may take: its hash, and that again where hashes are sorted."""

    def peak(self, monkeypatch: pytest.MonkeyPatch, count: int, labelled: bool) -> int:
        """Bytes that a listing of so many images holds at most."""

        def each_file(source: Storage) -> tuple[Storage, Iterator[File]]:
            ending = "png" if source.uri.endswith("labels") else "jpg"
            paths = (f"{number // 100:05d}/image-{number:07d}.{ending}" for number in range(count))
            return source, (File(path, 1, "v", 1.0) for path in paths)

        monkeypatch.setattr(video_files, "root_and_each", each_file)
        labels = Storage("/labels") if labelled else None
        tracemalloc.start()
        try:
            with Spool() as spool:
                rows = listing.list_rows(spool, Storage("/images"), labels)
                found = sum(len(part["path"]) for part in rows.parts())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert found == count

    @pytest.mark.long
    @pytest.mark.parametrize("labelled", [False, True])
    def test_it_does_not_grow_with_the_rows(
        self, monkeypatch: pytest.MonkeyPatch, labelled: bool
    ) -> None:
        for module, name in (
            (label_pairs, "PART_ROWS"),
            (spools, "ROWS_AT_ONCE"),
            (spools, "SORTED_AT_ONCE"),
            (image_names, "COMPARED_AT_ONCE"),
            (tables, "ROW_GROUP"),
        ):
            monkeypatch.setattr(module, name, 1000)
        monkeypatch.setattr(spools, "FEW_ROWS_AT_ONCE", 5)
        self.peak(monkeypatch, 100, labelled)  # what is kept once
        few, many = (self.peak(monkeypatch, count, labelled) for count in (4_000, 12_000))
        assert many - few < self.BYTES * 8_000
