"""The list of a dump: its images, their ids and their labels."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from stego_core.errors import InputError
from tasks.corpus import listing
from tasks.corpus.listing import LISTING_COLUMNS, list_images
from tasks.storage.storage import Storage


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
