"""The loop of all exports: which images, which classes, which places, and how it may end."""

import json
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from labelled import MASKS_KEY, NAMES, add_dump, blobs, save_photo, workspace_at
from PIL import Image

from flows.cli.main import main
from stego_core.errors import InputError, OptionError, WorkspaceError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks import exports
from tasks.class_names import classes_file as classes
from tasks.engine.progress import Event
from tasks.exports import run
from tasks.exports.mask_pngs import Masks
from tasks.exports.writer import LabelledImage, Writer
from tasks.options import ExportFormat, ExportOptions
from tasks.storage.storage import Storage
from tasks.workspace.workspace import Workspace

FIRST = {"a": blobs(1, 40, 56), "deep/b": blobs(2, 1, 1), "c": blobs(3, 1, 200)}
SECOND = {"a": blobs(4, 33, 47)}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two dumps, one image of each called `a`; the first with a broken one and an unusable one."""
    workspace = workspace_at(str(tmp_path / "ws"))
    for dump, masks in (("day_1", FIRST), ("night", SECOND)):
        for name, ids in masks.items():
            save_photo(tmp_path / dump / f"{name}.png", ids.shape)
    (tmp_path / "day_1" / "broken.png").write_bytes(b"not an image")
    save_photo(tmp_path / "day_1" / "unusable.png", (5, 5))
    add_dump(workspace, "day_1", tmp_path / "day_1", FIRST)
    add_dump(workspace, "night", tmp_path / "night", SECOND)
    return workspace


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.asarray(image)


def manifest(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "export.json").read_text()))


class TestMasks:
    def test_every_mask_is_there_under_a_name_of_its_own(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        exports.export(workspace, "masks", Storage.at(str(tmp_path / "out")))
        for dump, masks in (("day_1", FIRST), ("night", SECOND)):
            for name, ids in masks.items():
                found = read(tmp_path / "out" / "masks" / dump / f"{name}.png")
                np.testing.assert_array_equal(found, ids)
        legend = json.loads((tmp_path / "out" / "legend.json").read_text())
        assert legend["void"] == VOID_BYTE
        assert [row["name"] for row in legend["classes"]] == list(NAMES)

    def test_what_is_left_out_is_named_with_its_reason(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        storage = workspace.storage
        storage.remove(f"masks/{MASKS_KEY}/day_1/c.png")
        told = exports.export(workspace, "masks", Storage.at(str(tmp_path / "out")))
        found = manifest(tmp_path / "out")
        reasons = {row["path"]: row["reason"] for row in found["skipped"]}
        assert set(reasons) == {"broken.png", "unusable.png", "c.png"}
        assert "not an image" in reasons["broken.png"]
        assert reasons["unusable.png"] == "cannot be read any more"
        assert "mask is not there" in reasons["c.png"]
        assert found["dumps"] == {
            "day_1": {"images": 2, "skipped": 3}, "night": {"images": 1, "skipped": 0},
        }  # fmt: skip
        assert found == told
        assert (found["workspace"], found["masks"]) == (storage.uri, MASKS_KEY)

    def test_the_classes_are_those_of_now(self, workspace: Workspace, tmp_path: Path) -> None:
        out = tmp_path / "out"
        exports.export(workspace, "masks", Storage.at(str(out)))
        now = classes.current_names(workspace).classes
        edited = now.merged([3], 2).ignoring([4]).edited(2, "plants", "#123456")
        classes.edit(workspace, edited, "for a test")
        before = files(Path(workspace.storage.uri))
        told = exports.export(workspace, "masks", Storage.at(str(out)))
        assert told["revision"] == 1
        assert [row["id"] for row in told["classes"]] == [0, 1, 2]
        expected = np.choose(FIRST["a"], [0, 1, 2, 2, VOID_BYTE])
        np.testing.assert_array_equal(read(out / "masks" / "day_1" / "a.png"), expected)
        with Image.open(out / "masks" / "day_1" / "a.png") as image:
            assert image.getpalette()[6:9] == [0x12, 0x34, 0x56]
        assert files(Path(workspace.storage.uri)) == before

    def test_chosen_dumps_only(self, workspace: Workspace, tmp_path: Path) -> None:
        exports.export(workspace, "masks", Storage.at(str(tmp_path / "out")))
        exports.export(workspace, "masks", Storage.at(str(tmp_path / "out")), ["night"])
        assert set(files(tmp_path / "out")) == {"masks/night/a.png", "legend.json", "export.json"}

    def test_progress_is_told(self, workspace: Workspace, tmp_path: Path) -> None:
        heard: list[Event] = []
        out = Storage.at(str(tmp_path / "out"))
        exports.export(workspace, "masks", out, progress=heard.append)
        assert [event.done for event in heard] == [0, 1, 2, 3, 4, 5, 5]
        assert heard[-1].finished
        assert {event.total for event in heard} == {5}

    def test_from_and_to_an_object_store(
        self, workspace: Workspace, tmp_path: Path, s3_environment: str
    ) -> None:
        remote = workspace_at(f"{s3_environment}/ws")
        add_dump(remote, "night", tmp_path / "night", SECOND)
        out = Storage.at(f"{s3_environment}/out")
        for kind in ("masks", "coco"):
            place = Storage(out.full(kind))
            exports.export(remote, kind, place)
            exports.export(workspace, kind, Storage.at(str(tmp_path / kind)), ["night"])
            if kind == "masks":
                exports.export(remote, kind, place)  # replaces the first
            local = files(tmp_path / kind)
            assert {file.path for file in place.files()} == set(local)
            for name in local.keys() - {"export.json"}:
                assert place.read(name) == local[name]


class Counting(Masks):
    """Masks, and how many images are alive."""

    alive: weakref.WeakSet[LabelledImage]
    most = 0

    def add(self, image: LabelledImage) -> None:
        super().add(image)
        self.alive.add(image)
        type(self).most = max(self.most, len(self.alive))


class TestMemory:
    def test_few_images_are_alive_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        workspace = workspace_at(str(tmp_path / "ws"))
        masks = {f"{n:02d}": blobs(n, 6, 6) for n in range(30)}
        for name in masks:
            save_photo(tmp_path / "many" / f"{name}.png", (6, 6))
        add_dump(workspace, "many", tmp_path / "many", masks)
        Counting.alive = weakref.WeakSet()
        monkeypatch.setitem(run.WRITERS, "masks", Counting)
        monkeypatch.setattr(LabelledImage, "__hash__", object.__hash__)
        assert exports.export(workspace, "masks", Storage.at(str(tmp_path / "out")))["images"] == 30
        assert 1 <= Counting.most <= 2  # the one at hand, and the one before it

    def test_images_are_decoded_for_whom_asks_only(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        class Pixels(Masks):
            reads = ("pixels",)

            def add(self, image: LabelledImage) -> None:
                asked.append(image.pixels.shape[:2] == image.ids.shape)

        monkeypatch.setattr(LabelledImage, "content", property(lambda _: pytest.fail("read")))
        exports.export(workspace, "masks", Storage.at(str(tmp_path / "masks")))
        monkeypatch.undo()
        monkeypatch.setitem(run.WRITERS, "masks", Pixels)
        exports.export(workspace, "masks", Storage.at(str(tmp_path / "pixels")))
        assert asked == [True] * 4

    def test_images_come_in_their_order(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        monkeypatch.setattr(Masks, "add", lambda _, image: seen.append(image.name))
        exports.export(workspace, "masks", Storage.at(str(tmp_path / "out")))
        assert seen == ["day_1/a", "day_1/c", "day_1/deep/b", "night/a"]


class TestPlaces:
    def test_an_interrupted_export_is_no_whole_one_and_is_made_whole(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for kind in ("coco", "voc", "cvat", "labelstudio", "masks"):
            fresh, out = tmp_path / kind / "fresh", tmp_path / kind / "out"
            exports.export(workspace, kind, Storage.at(str(fresh)))
            for before in (False, True):  # into an empty place, over a whole export
                writer, seen = run.WRITERS[kind], []

                def add(
                    self: Writer,
                    image: LabelledImage,
                    real: Any = writer.add,
                    seen: list[str] = seen,
                ) -> None:
                    real(self, image)
                    seen.append(image.name)
                    if len(seen) == 2:
                        raise KeyboardInterrupt

                with monkeypatch.context() as patch:
                    patch.setattr(writer, "add", add)
                    with pytest.raises(KeyboardInterrupt):
                        exports.export(workspace, kind, Storage.at(str(out)))
                left = set(files(out))
                assert "export.json" not in left, before
                assert not left & {
                    "annotations.json", "annotations.xml", "tasks.json",
                    "ImageSets/Segmentation/default.txt",
                }  # fmt: skip
                exports.export(workspace, kind, Storage.at(str(out)))
                assert files(out) == files(fresh)

    @pytest.mark.parametrize(
        ("below", "what"),
        [("ws", "workspace"), ("ws/exports", "workspace"), ("day_1/new", "images of dump day_1")],
    )
    def test_nothing_is_mixed_with_its_sources(
        self, workspace: Workspace, tmp_path: Path, below: str, what: str
    ) -> None:
        with pytest.raises(InputError, match=f"lies inside the {what}"):
            exports.export(workspace, "masks", Storage.at(str(tmp_path / below)))
        assert not (tmp_path / below / "export.begun.json").exists()


class TestRefusals:
    def test_formats(self, workspace: Workspace, tmp_path: Path) -> None:
        assert tuple(run.WRITERS) == get_args(ExportFormat)
        out = Storage.at(str(tmp_path / "out"))
        with pytest.raises(OptionError, match="no format 'yolo'; there are masks, coco"):
            exports.export(workspace, "yolo", out)
        with pytest.raises(OptionError, match="--instances is for coco, cvat, labelstudio, not"):
            exports.export(workspace, "voc", out, options=ExportOptions(instances=True))
        assert not (tmp_path / "out").exists()

    def test_dumps(self, workspace: Workspace, tmp_path: Path) -> None:
        out = Storage.at(str(tmp_path / "out"))
        with pytest.raises(InputError, match="no dump day in the workspace; it has day_1, night"):
            exports.export(workspace, "masks", out, ["day"])
        workspace.storage.remove(f"masks/{MASKS_KEY}/night/manifest.json")
        with pytest.raises(WorkspaceError, match="dump night has no current masks"):
            exports.export(workspace, "masks", out)
        assert exports.export(workspace, "masks", out, ["day_1"])["images"] == 3

    def test_nothing_to_export(self, workspace: Workspace, tmp_path: Path) -> None:
        out = Storage.at(str(tmp_path / "out"))
        with pytest.raises(InputError, match="no image can be exported as geotiff; the first"):
            exports.export(workspace, "geotiff", out)
        assert "export.json" not in files(tmp_path / "out")


class Odd(Writer):
    """Refuses what it is told to."""

    names: Sequence[str] = ()

    def begin(self, classes: ClassNames, dumps: Sequence[str]) -> None:
        raise OptionError("classes do not fit")

    def add(self, image: LabelledImage) -> None: ...

    def end(self) -> Mapping[str, Path]:
        return {}


class TestCommand:
    def test_exports_and_says_what_was_left_out(
        self, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        main(
            ["export", "--workspace", workspace.storage.uri, "--format", "coco", "--instances",
             "--out", str(out), "--dumps", "day_1, night"]
        )  # fmt: skip
        shown = capsys.readouterr()
        assert f"coco: 4 images in {out}, 2 left out" in shown.out
        assert "left out: day_1/broken.png: not an image" in shown.err
        assert "export coco: 5/5 images" in shown.err
        assert manifest(out)["options"]["instances"] is True

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--format", "yolo"], '"yolo" for --format. Choose from: "masks", "coco"'),
            (["--format", "masks", "--dumps", "x"], "error: no dump x in the workspace"),
            (["--format", "masks", "--with-images"], "error: --with-images is for coco, voc, cvat"),
        ],
    )
    def test_a_mistake_is_one_sentence(
        self,
        workspace: Workspace,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        flags: list[str],
        message: str,
    ) -> None:
        place = ["--workspace", workspace.storage.uri, "--out", str(tmp_path / "out")]
        with pytest.raises(SystemExit) as stopped:
            main(["export", *place, *flags])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

    def test_classes_that_do_not_fit_leave_no_export(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(run.WRITERS, "masks", Odd)
        with pytest.raises(OptionError, match="do not fit"):
            exports.export(workspace, "masks", Storage.at(str(tmp_path / "out")))
        assert set(files(tmp_path / "out")) == {"export.begun.json"}
