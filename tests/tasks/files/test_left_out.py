"""What is an image, what serves as a label, and what is told of everything else."""

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stego_core.errors import InputError, WorkspaceError
from tasks.corpus import stage as corpus
from tasks.corpus.changed_files import arrived_later
from tasks.corpus.index import IndexReader
from tasks.corpus.listing import ListingRequest, list_images
from tasks.engine.steps import LoopExecutor
from tasks.files import formats, left_out, tiff_pages
from tasks.files.left_out import LeftOutCounts
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

RNG = np.random.default_rng(0)
SIZE = (12, 16)


def photo() -> Image.Image:
    return Image.fromarray(RNG.integers(0, 255, (*SIZE, 3), np.uint8))


def label(*values: int) -> Image.Image:
    return Image.fromarray(np.resize(np.array(values, np.uint8), SIZE))


def put(folder: Path, **files: Image.Image | bytes) -> Path:
    """Write files; a double underscore stands for the dot, a triple one for the slash."""
    for name, content in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)
    return folder


def kinds(told: LeftOutCounts) -> dict[str, tuple[int, str]]:
    return {kind: (each.count, each.example) for kind, each in told.kinds.items()}


def indexed(tmp_path: Path, dump: str = "d", **options: Any) -> tuple[IndexReader, LeftOutCounts]:
    workspace = Workspace.create(str(tmp_path / "ws"))
    given = {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}
    stage = corpus.plan(workspace, dump, CorpusOptions(**given))
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), range(stage.shards)))
    corpus.finish(workspace, stage, 0.0, 1)
    reader = IndexReader(workspace, dump)
    return reader, LeftOutCounts.of(workspace.corpus(dump).manifest())


def entries(reader: IndexReader) -> list[dict[str, Any]]:
    return reader.entries(np.arange(reader.manifest["images"]))


class TestKinds:
    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("a/b.JPG", "image"), ("x.jfif", "image"), ("x.avif", "image"), ("x.jp2", "image"),
            ("x.tga", "image"), ("x.pnm", "image"), ("x.mp4", "video"), ("._a.jpg", "hidden"),
            ("Thumbs.db", "hidden"), (".DS_Store", "hidden"), (".git/a.png", "tool folder"),
            ("a/@eaDir/p.jpg/x.png", "tool folder"), ("__MACOSX/a.jpg", "tool folder"),
            ("$RECYCLE.BIN/a.jpg", "tool folder"), ("lost+found/a.jpg", "tool folder"),
            ("System Volume Information/a.jpg", "tool folder"), (".Trash-1000/files/a.mp4",
            "tool folder"), ("a.npy", "other ending"), ("noending", "no ending"),
        ],
    )  # fmt: skip
    def test_by_name(self, path: str, kind: str) -> None:
        assert left_out.kind_of(path) == kind

    def test_without_its_plugin_a_phone_s_picture_is_told(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(formats, "installed", lambda module: False)
        put(tmp_path, a__png=photo(), phone__HEIC=b"\0\0\0\x18ftypheic", b__jxl=b"\xff\x0a")
        told = list_images(Storage.at(str(tmp_path)), None).left_out
        assert kinds(told) == {"HEIC": (1, "phone.HEIC"), "JPEG XL": (1, "b.jxl")}
        assert "pip install 'stego-flows[heic]'" in told.lines()[1] + told.lines()[0]
        assert "it is HEIC" in formats.refusal(b"\0\0\0\x18ftypheic")

    @pytest.mark.parametrize("ending", ["heic", "jxl"])
    def test_with_its_plugin_it_is_an_image(self, tmp_path: Path, ending: str) -> None:
        plugin = formats.plugin_of(f".{ending}")
        assert plugin is not None
        pytest.importorskip(plugin.module)
        formats.decoders()
        put(tmp_path / "in", a__png=photo())
        Image.new("RGB", (16, 12), (200, 30, 30)).save(tmp_path / f"in/b.{ending}", plugin.decoder)
        reader, _ = indexed(tmp_path, images=tmp_path / "in")
        assert [entry["path"] for entry in entries(reader)] == ["a.png", f"b.{ending}"]

    @pytest.mark.parametrize(
        ("ending", "kind"),
        [("jfif", "JPEG"), ("jp2", "JPEG2000"), ("tga", "TGA"), ("pnm", "PPM"), ("avif", "AVIF")],
    )
    def test_forms_that_pillow_reads(self, tmp_path: Path, ending: str, kind: str) -> None:
        (tmp_path / "in").mkdir()
        photo().save(tmp_path / f"in/a.{ending}", kind)
        reader, _ = indexed(tmp_path, images=tmp_path / "in")
        assert reader.image(entries(reader)[0]).pixels.shape[:2] == SIZE


class TestTold:
    def test_every_kind_with_an_example(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__png=photo(), thumb=b"x", x__npy=b"x", y__npy=b"x", z__csv=b"x")
        put(tmp_path / "in/.ipynb_checkpoints", p__png=photo())
        put(
            tmp_path / "labels",
            a__png=label(0, 1),
            orphan__png=label(0),
            a__tif=label(1),
            m__mat=b"1",
        )
        found = list_images(Storage.at(str(tmp_path / "in")), Storage.at(str(tmp_path / "labels")))
        assert kinds(found.left_out) == {
            "tool folder": (1, ".ipynb_checkpoints/p.png"),
            "other ending": (3, "x.npy"),
            "no ending": (1, "thumb"),
            "orphan label": (1, "orphan.png"),
            "second label": (1, "a.tif"),
            "unread label": (1, "m.mat"),
        }
        assert found.columns["label"] == ["a.png"]
        line = "left out: 3 files whose endings are not read (for example x.npy); .npy 2, .csv 1"
        assert line in found.left_out.lines()

    def test_only_things_that_are_left_out(self, tmp_path: Path) -> None:
        put(tmp_path, a__npy=b"x")
        with pytest.raises(InputError, match=r"left out: 1 file .*a\.npy.*expected files ending"):
            list_images(Storage.at(str(tmp_path)), None)

    def test_a_workspace_among_the_images(self, tmp_path: Path) -> None:
        put(tmp_path, a__png=photo(), ws___masks___k___d___a__png=label(1))
        wish = ListingRequest(workspace=str(tmp_path / "ws"))
        found = list_images(Storage.at(str(tmp_path)), None, None, wish)
        assert found.columns["path"] == ["a.png"]
        assert kinds(found.left_out) == {"workspace": (1, "ws/masks/k/d/a.png")}

    def test_images_that_are_alike(self, tmp_path: Path) -> None:
        same = photo()
        put(tmp_path / "in", a__png=same, b__png=same, c__png=same)
        _, told = indexed(tmp_path, images=tmp_path / "in")
        assert told.remarks[0].startswith("all 3 images are alike")
        put(tmp_path / "in", d__png=photo())
        _, told = indexed(tmp_path, "e", images=tmp_path / "in")
        assert told.remarks == ["2 images are copies of others, byte for byte (for example b.png)"]


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


class TestPairs:
    def pairs(
        self, tmp_path: Path, images: list[str], labels: list[str], wish: ListingRequest
    ) -> list[Any]:
        for folder, names in (("i", images), ("l", labels)):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).write_bytes(b"x")
        self.left_out = list_images(
            Storage.at(str(tmp_path / "i")), Storage.at(str(tmp_path / "l")), None, wish
        )
        return self.left_out.columns["label"]

    def test_names_in_another_form_or_case(self, tmp_path: Path) -> None:
        mac = unicodedata.normalize("NFD", "münchen.png")
        images, labels = ["DSC_1.JPG", mac], ["dsc_1.png", "münchen.png"]
        assert self.pairs(tmp_path, images, labels, ListingRequest()) == labels
        assert self.left_out.left_out.remarks[0].startswith("labels: 2 were found under a name")

    def test_case_that_leaves_a_doubt(self, tmp_path: Path) -> None:
        pairs = self.pairs(
            tmp_path, ["a.jpg", "B.jpg", "b.jpg"], ["a.png", "b.png"], ListingRequest()
        )
        assert pairs == [None, "a.png", "b.png"]

    def test_cityscapes(self, tmp_path: Path) -> None:
        images = [f"aachen_{n}_leftImg8bit.png" for n in range(3)]
        labels = [f"aachen_{n}_gtFine_{k}.png" for n in range(3) for k in ("color", "labelIds")]
        wish = ListingRequest("_leftImg8bit", "_gtFine_labelIds")
        assert self.pairs(tmp_path, images, labels, wish) == labels[1::2]
        assert kinds(self.left_out.left_out) == {"other label": (3, labels[0])}

    def test_what_would_match_is_told(self, tmp_path: Path) -> None:
        images = [f"aachen_{n}_leftImg8bit.png" for n in range(3)]
        labels = [f"aachen_{n}_gtFine_labelIds.png" for n in range(3)]
        expected = "--image-suffix=_leftImg8bit --label-suffix=_gtFine_labelIds"
        with pytest.raises(InputError, match=expected) as refused:
            self.pairs(tmp_path, images, labels, ListingRequest())
        assert images[0] in str(refused.value)
        assert labels[0] in str(refused.value)


class TestPages:
    def stack(self, *shades: int) -> bytes:
        sink = io.BytesIO()
        first, *others = [Image.new("RGB", SIZE[::-1], (s, s, s)) for s in shades]
        first.save(sink, "TIFF", save_all=True, append_images=others)
        return sink.getvalue()

    def test_the_first_and_how_many_more(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__tif=self.stack(10, 20, 30))
        reader, told = indexed(tmp_path, images=tmp_path / "in")
        assert reader.manifest["images"] == 1
        assert kinds(told) == {"page": (2, "a.tif")}

    def test_each_is_an_image_of_its_own(self, tmp_path: Path) -> None:
        put(tmp_path / "in", a__tif=self.stack(10, 20, 30), b__png=photo())
        reader, told = indexed(tmp_path, images=tmp_path / "in", pages="all")
        found = entries(reader)
        assert [e["image_id"] for e in found] == ["a/p0001", "a/p0002", "a/p0003", "b"]
        shades = [int(reader.image(entry).pixels.max()) for entry in found[:3]]
        assert shades == [10, 20, 30]
        assert kinds(told) == {}

    @pytest.mark.parametrize("damage", [b"II*\0", b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b""])
    def test_damage(self, damage: bytes) -> None:
        assert tiff_pages.count(damage + b"\xff" * 20) == 1

    def test_a_chain_that_is_a_circle(self) -> None:
        content = bytearray(self.stack(1, 2))
        first = int.from_bytes(content[4:8], "little")
        link = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
        content[link : link + 4] = first.to_bytes(4, "little")
        assert tiff_pages.count(bytes(content)) == 1

    def test_an_animation_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        frames = [photo().convert("P") for _ in range(3)]
        frames[0].save(tmp_path / "in/a.gif", save_all=True, append_images=frames[1:])
        _, told = indexed(tmp_path, images=tmp_path / "in")
        assert kinds(told) == {"frame": (2, "a.gif")}


class TestDumps:
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
