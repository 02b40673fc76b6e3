"""Labels among images, beside them, and in folders of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from piles import indexed, kinds, label, photo, put

from stego_core.errors import InputError
from tasks.corpus.changed_files import arrived_later
from tasks.corpus.listing import ListingRequest, list_images
from tasks.files.left_out import LeftOut
from tasks.labels.label_files import LabelFiles, find_labels
from tasks.storage.spool import Spool
from tasks.storage.storage import Storage


class TestLabelsAmongImages:
    def test_a_file_that_serves_as_a_label_is_no_image(self, tmp_path: Path) -> None:
        put(tmp_path, a__jpg=photo(), a__png=label(0, 1), b__jpg=photo(), b__png=label(1))
        place = Storage.at(str(tmp_path))
        found = list_images(place, place)
        assert found.columns["path"] == ["a.jpg", "b.jpg"]
        assert found.columns["label"] == ["a.png", "b.png"]
        assert kinds(found.left_out) == {"label": (2, "a.png")}

    @pytest.mark.parametrize("labelled", [True, False])
    def test_they_did_not_come_later(self, tmp_path: Path, labelled: bool) -> None:
        put(tmp_path / "in", a__jpg=photo(), a__png=label(0, 1))
        options = {"labels": tmp_path / "in"} if labelled else {}
        reader, _ = indexed(tmp_path, images=tmp_path / "in", **options)
        assert arrived_later(reader.workspace, "d") == []
        put(tmp_path / "in", z__jpg=photo())
        assert arrived_later(reader.workspace, "d") == ["z.jpg"]

    def test_files_that_look_like_labels(self, tmp_path: Path) -> None:
        put(tmp_path, a__jpg=photo(), a__png=label(0, 1), b__jpg=photo(), b__png=label(1))
        found = list_images(Storage.at(str(tmp_path)), None)
        assert found.columns["path"] == ["a.jpg", "b.jpg"]
        assert kinds(found.left_out) == {"label-like": (2, "a.png")}

    def test_photos_of_one_name_are_images(self, tmp_path: Path) -> None:
        put(tmp_path, a__jpg=photo(), a__png=photo())
        assert list_images(Storage.at(str(tmp_path)), None).columns["path"] == ["a.jpg", "a.png"]

    def test_a_folder_of_labels_inside(self, tmp_path: Path) -> None:
        put(tmp_path, a__png=photo(), labels___a__png=label(1), labels___o__png=label(1))
        found = list_images(Storage.at(str(tmp_path)), Storage.at(str(tmp_path / "labels")))
        assert found.columns["path"] == ["a.png"]
        assert kinds(found.left_out) == {"label": (2, "labels/a.png"), "orphan label": (1, "o.png")}

    def test_a_suffix(self, tmp_path: Path) -> None:
        put(tmp_path, a__jpg=photo(), a_mask__png=label(1), b__jpg=photo())
        found = list_images(Storage.at(str(tmp_path)), None, None, ListingRequest("", "_mask.png"))
        assert found.columns["path"] == ["a.jpg", "b.jpg"]
        assert found.columns["label"] == ["a_mask.png", None]


class TestFindLabels:
    @pytest.fixture(autouse=True)
    def spool(self) -> Iterator[None]:
        with Spool() as self.spool:
            yield

    def found(self, tmp_path: Path, labels: str | None, suffix: str = "") -> LabelFiles | None:
        images = Storage.at(str(tmp_path / "in"))
        paths = self.spool.keep((f.path for f in images.files() if f.path.endswith("g")), str)
        place = Storage.at(str(tmp_path / labels)) if labels else None
        return find_labels(images, paths, place, suffix, self.spool)

    def test_none_are_requested(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__jpg=b"x", a__png=b"x")
        assert self.found(tmp_path, None) is None
        assert self.found(tmp_path, None, ".png") is None  # an ending is no suffix

    def test_one_file(self, tmp_path: Path) -> None:
        put(tmp_path, in___a__jpg=b"x", l___m__png=b"x", l___n__png=b"x")
        labels = self.found(tmp_path, "l/m.png")
        assert labels is not None
        assert [file.path for file in labels.files] == ["m.png"]
        assert (labels.single, list(labels.among_images), labels.coco) == (True, [], None)

    def test_one_file_among_the_images(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__jpg=b"x", m__png=b"x", n__png=b"x")
        labels = self.found(tmp_path, "in/m.png")
        assert labels is not None
        assert list(labels.among_images) == ["m.png"]

    def test_a_coco_file_and_files_that_are_not_read(self, tmp_path: Path) -> None:
        put(tmp_path, in___a__jpg=b"x", l___i__json=b"{}", l___x__mat=b"x")
        labels = self.found(tmp_path, "l")
        assert labels is not None
        assert (labels.coco, list(labels.files)) == ("i.json", [])
        put(tmp_path, l___a__png=b"x")
        labels = self.found(tmp_path, "l")
        assert labels is not None
        told = LeftOut("unread label", 2, "i.json", ".json 1, .mat 1")
        assert (labels.coco, labels.unread) == (None, told)

    def test_images_below_the_labels_are_no_labels(self, tmp_path: Path) -> None:
        put(tmp_path, in___a__jpg=b"x", b__png=b"x")
        labels = self.found(tmp_path, ".")
        assert labels is not None
        assert [file.path for file in labels.files] == ["b.png"]

    def test_several_documents(self, tmp_path: Path) -> None:
        put(tmp_path, in___a__jpg=b"x", l___1__json=b"", l___2__json=b"", l___3__json=b"")
        with pytest.raises(InputError, match=r"3 JSON files \(1\.json, 2\.json, …\); give one"):
            self.found(tmp_path, "l")
