"""What is an image, what serves as a label, and what is told of everything else."""

from pathlib import Path

import pytest
from PIL import Image
from piles import SIZE, entries, indexed, kinds, label, photo, put

from stego_core.errors import InputError
from tasks.corpus.listing import ListingRequest, list_images
from tasks.files import formats, left_out
from tasks.storage.storage import Storage


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
