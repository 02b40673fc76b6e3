"""What changed in a dump under the same names, what came later, and what begins anew."""

import io
import json
import os
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from piles import SIZE, entries, indexed, label, photo, put

from stego_core.errors import InputError, OutageError, WorkspaceError
from tasks.corpus import stage as corpus
from tasks.corpus.changed_files import NAMED_FILES, arrived_later, check_unchanged
from tasks.corpus.listing import facts_of
from tasks.engine.steps import LoopExecutor
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.workspace import layout
from tasks.workspace.workspace import Workspace

DUMP = "day"
COUNT = 8


def picture(seed: int, side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels))


def label_file(value: int) -> bytes:
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
        labels.write(f"{number}.png", label_file(number))
    images.write("broken.png", b"not an image")


def index(workspace: Workspace, images: Storage, labels: Storage, **more: str) -> None:
    options = CorpusOptions(images=images.uri, labels=labels.uri, **more)
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
        dump.labels.write("1.png", label_file(7))
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


class TestLabelsAmongImages:
    """Their paths lie in a table: they are no images that came later."""

    @pytest.fixture
    def piled(self, tmp_path: Path) -> tuple[Workspace, Storage]:
        images, workspace = Storage(str(tmp_path / "in")), Workspace.create(str(tmp_path / "ws"))
        for number in range(4):
            images.write(f"x/{number}.png", picture(number))
            images.write(f"x/{3 - number}_z.png", label_file(number))
        index(workspace, images, images, label_suffix="_z")
        return workspace, images

    def test_none_at_first(self, piled: tuple[Workspace, Storage]) -> None:
        workspace, images = piled
        assert arrived_later(workspace, DUMP) == []
        facts = facts_of(workspace.corpus(DUMP))
        assert facts["passed"] == 4
        images.write("x/2_a.png", picture(9))
        assert arrived_later(workspace, DUMP) == ["x/2_a.png"]
        check_unchanged(workspace, DUMP)

    def test_a_listing_of_an_earlier_version(self, piled: tuple[Workspace, Storage]) -> None:
        workspace, _ = piled
        folder = workspace.corpus(DUMP)
        facts = {**facts_of(folder), "passed": [f"x/{number}_z.png" for number in range(4)]}
        folder.storage.write(f"{folder.path}/{layout.FACTS_FILE}", json.dumps(facts).encode())
        folder.storage.remove(f"{folder.path}/{layout.LISTED_LABELS_FILE}")
        assert arrived_later(workspace, DUMP) == []

    def test_changed_ones_are_found_whatever_their_order(self, tmp_path: Path) -> None:
        place = Storage(str(tmp_path))
        images, labels = Storage(place.full("images")), Storage(place.full("labels"))
        for name in ("a.png", "a-b.png", "a/b.png"):  # sorted otherwise than without their ending
            images.write(name, picture(len(name)))
            labels.write(f"{name[:-4]}_of.png", label_file(1))
        workspace = Workspace.create(place.full("ws"))
        index(workspace, images, labels, label_suffix="_of")
        check_unchanged(workspace, DUMP)
        for name in ("a_of.png", "a-b_of.png", "a/b_of.png"):
            before = labels.read(name)
            labels.write(name, label_file(2))
            os.utime(labels.full(name), (1, 1))
            with pytest.raises(InputError, match=f"1 of its files changed .*: {name};"):
                check_unchanged(workspace, DUMP)
            labels.write(name, before)


class TestBegin:
    def test_one_image(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__png=photo(), b__png=photo())
        reader, _ = indexed(tmp_path, images=tmp_path / "in/a.png")
        assert [entry["path"] for entry in entries(reader)] == ["a.png"]
        assert reader.image(entries(reader)[0]).pixels.shape[:2] == SIZE

    def test_another_place_under_the_same_name_asks_for_another_name(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            put(tmp_path / name, a__png=photo())
        indexed(tmp_path, images=tmp_path / "one")
        with pytest.raises(WorkspaceError, match=r"another --images: .*one then, .*two now.*--dump"
        ) as refused:  # fmt: skip
            indexed(tmp_path, images=tmp_path / "two")
        assert "remove" not in str(refused.value)

    def test_an_unfinished_one_begins_anew(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__png=photo(), b__png=photo())
        put(tmp_path / "labels", a__png=label(0, 255))
        (tmp_path / "t.json").write_text(json.dumps({"classes": ["x", "y"]}))
        options = {"images": tmp_path / "in", "labels": tmp_path / "labels"}
        with pytest.raises(InputError, match="255"):
            indexed(tmp_path, taxonomy=tmp_path / "t.json", **options)
        (tmp_path / "t.json").write_text(json.dumps({"classes": ["x", "y"], "void": 255}))
        reader, _ = indexed(tmp_path, taxonomy=tmp_path / "t.json", **options)
        assert reader.manifest["labelled"] == 1

    def test_a_name_that_differs_in_case(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__png=photo())
        indexed(tmp_path, "Day", images=tmp_path / "in")
        with pytest.raises(InputError, match="there is a dump Day already"):
            indexed(tmp_path, "day", images=tmp_path / "in")
