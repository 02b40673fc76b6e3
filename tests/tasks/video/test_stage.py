"""Frames of videos: the right ones, at the right moments, and every broken clip on the list."""

import contextlib
import io
import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from clip_files import HEIGHT, WIDTH, painted, shown, write_clip, write_sound
from PIL import Image

from stego_core.errors import ImageError, InputError, WorkspaceError
from stego_core.images.rendering import Picture
from tasks.corpus import stage as corpus
from tasks.corpus.changed_files import arrived_later
from tasks.corpus.index import IndexReader
from tasks.corpus.listing import default_dump
from tasks.corpus.quarantine import quarantined
from tasks.engine.stage import Stage
from tasks.engine.steps import LoopExecutor
from tasks.files import video_files
from tasks.options import CorpusOptions
from tasks.storage.storage import Storage
from tasks.video import stage as frames
from tasks.video import stretches
from tasks.workspace.summary import Summary
from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "ws"))


def compute(stage: Stage | None) -> Stage:
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), stage.folder.missing(stage.shards)))
    return stage


def cut(workspace: Workspace, images: object, fps: float = 1.0) -> Path:
    """Frames of a dump `d`; returns their folder."""
    options = CorpusOptions(images=str(images), fps=fps)
    assert frames.has_clips(workspace, "d", options)
    frames.finish(compute(frames.plan(workspace, "d", options)), 0.0, 1)
    return Path(workspace.storage.uri) / "frames/d/images"


def index(workspace: Workspace, images: object, fps: float = 1.0, **more: str) -> IndexReader:
    options = CorpusOptions(images=str(images), fps=fps, **more)
    corpus.finish(workspace, compute(corpus.plan(workspace, "d", options)), 0.0, 1)
    return IndexReader(workspace, "d")


def reasons(workspace: Workspace) -> dict[str, str]:
    place = f"{workspace.storage.uri}/frames/d/quarantine.parquet"
    rows = pq.read_table(place).to_pylist()
    return {row["path"]: row["reason"] for row in rows}


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        ("mp4", "libx264"),
        ("mkv", "libx264"),
        ("avi", "mpeg4"),
        ("avi", "libx264"),
        ("ts", "mpeg2video"),
        ("webm", "libvpx-vp9"),
        ("mpg", "mpeg2video"),
    ],
)
def test_the_frame_on_display_at_every_moment(
    workspace: Workspace, tmp_path: Path, ending: str, codec: str
) -> None:
    fps = 25 if codec == "mpeg2video" else 10
    clip = write_clip(tmp_path / f"clips/drive.{ending}", 4 * fps - 1, fps, codec=codec)
    found = shown(cut(workspace, clip.parent, 2))
    moments = [k for k in range(8) if k * fps // 2 < 4 * fps - 1]
    assert found == {f"drive/t{k // 2:06d}.{500 * (k % 2):03d}.jpg": k * fps // 2 for k in moments}
    assert reasons(workspace) == {}


def slow(times: list[Fraction], end: Fraction, rate: Fraction) -> dict[Fraction, int]:
    """For each moment the last frame that is not later, by half a millisecond; each once."""
    found: dict[Fraction, int] = {}
    moment, last = Fraction(0), -1
    while moment < end:
        index = max(i for i, time in enumerate(times) if time <= moment + Fraction(1, 2000))
        if index != last:
            found[moment] = last = index
        moment += 1 / rate
    return found


@pytest.mark.parametrize("fps", [0.5, 1.0, 3.0, 29.97, 100.0])
def test_variable_rates_and_no_doubles(workspace: Workspace, tmp_path: Path, fps: float) -> None:
    times = [0, 40, 80, 1990, 2040, 2100, 5000, 5001, 9000, 9500, 9999, 10000]
    clip = write_clip(tmp_path / "v/a.mkv", len(times), milliseconds=times)
    found = shown(cut(workspace, clip.parent, fps))
    seconds = [Fraction(time, 1000) for time in times]
    expected = slow(seconds, seconds[-1] + Fraction(1, 10), Fraction(str(fps)))
    assert found == {f"a/{frames.frame_name(moment)}": index for moment, index in expected.items()}


@pytest.mark.parametrize("fps", [3, 24, 30])
def test_a_clock_of_milliseconds_loses_no_frame(
    workspace: Workspace, tmp_path: Path, fps: int
) -> None:
    clip = write_clip(tmp_path / "v/a.mkv", 40, fps)
    assert list(shown(cut(workspace, clip.parent, fps)).values()) == list(range(40))


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_stretches_fit_together(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    clip = write_clip(tmp_path / f"clips/long.{ending}", 128, gop=25)
    whole = shown(cut(Workspace.create(str(tmp_path / "whole")), clip.parent, 3))
    monkeypatch.setattr(stretches, "STRETCH_SECONDS", 1)
    monkeypatch.setattr(stretches, "STRETCH_BYTES", 1)
    options = CorpusOptions(images=str(clip.parent), fps=3)
    stage = frames.plan(workspace, "d", options)
    assert stage is not None
    assert stage.shards >= 12
    assert shown(cut(workspace, clip.parent, 3)) == whole
    table = pq.read_table(f"{workspace.storage.uri}/frames/d/frames.parquet").to_pydict()
    assert table["path"] == sorted(whole)
    assert table["seconds"] == pytest.approx([k / 3 for k in range(len(whole))])
    assert set(table["clip"]) == {clip.name}


def test_killed_and_started_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "STRETCH_SECONDS", 2)
    monkeypatch.setattr(stretches, "STRETCH_BYTES", 1)
    clip = write_clip(tmp_path / "clips/a.mp4", 80)
    stage = frames.plan(workspace, "d", CorpusOptions(images=str(clip.parent)))
    assert stage is not None
    list(LoopExecutor().map(stage.work.steps(), [2]))
    done = Path(workspace.storage.uri) / "frames/d/images/a/t000004.000.jpg"
    written = done.stat().st_mtime_ns
    folder = cut(workspace, clip.parent)
    assert done.stat().st_mtime_ns == written
    assert list(shown(folder).values()) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert frames.plan(workspace, "d", CorpusOptions(images=str(clip.parent))) is None


@pytest.mark.parametrize(("rotation", "turns"), [(-90, -1), (90, 1), (180, 2)])
def test_frames_are_upright(
    workspace: Workspace, tmp_path: Path, rotation: int, turns: int
) -> None:
    clip = write_clip(tmp_path / "clips/a.mp4", 5, rotation=rotation)
    image = np.asarray(Image.open(cut(workspace, clip.parent) / "a/t000000.000.jpg"))
    expected = np.rot90(painted(0), turns)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 4


FIRST = 77


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), painted(FIRST)),
        ((-1, 0, 0, 0, 1, 0, 0, 0, 1), np.fliplr(painted(FIRST))),
        ((1, 0, 0, 0, -1, 0, 0, 0, 1), np.flipud(painted(FIRST))),
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), np.rot90(painted(FIRST), 2)),
        ((0, 1, 0, -1, 0, 0, 0, 0, 1), np.rot90(painted(FIRST), -1)),
        ((0, -1, 0, 1, 0, 0, 0, 0, 1), np.rot90(painted(FIRST), 1)),
        ((0, 1, 0, 1, 0, 0, 0, 0, 1), painted(FIRST).swapaxes(0, 1)),
        ((0, -1, 0, -1, 0, 0, 0, 0, 1), np.rot90(painted(FIRST), 2).swapaxes(0, 1)),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0), painted(FIRST)),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_frames_are_mirrored_as_players_do(
    workspace: Workspace, tmp_path: Path, ending: str, matrix: tuple[int, ...], expected: np.ndarray
) -> None:
    """As `ffplay` does it: hflip, vflip, transpose and their like from the display matrix."""
    clip = write_clip(tmp_path / f"clips/a.{ending}", 3, matrix=matrix, first=FIRST)
    image = np.asarray(Image.open(cut(workspace, clip.parent) / "a/t000000.000.jpg"))
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("aspect", "size"), [((4, 3), (64, 128)), ((2, 3), (96, 96)), ((1, 1), (64, 96))]
)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_pixels_are_square(
    workspace: Workspace,
    tmp_path: Path,
    ending: str,
    aspect: tuple[int, int],
    size: tuple[int, int],
) -> None:
    clip = write_clip(tmp_path / f"clips/a.{ending}", 3, aspect=Fraction(*aspect))
    image = Image.open(cut(workspace, clip.parent) / "a/t000000.000.jpg")
    assert (image.height, image.width) == size
    expected = np.asarray(Image.fromarray(painted(0)).resize(image.size))
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < 6


class TestBroken:
    def test_every_way_has_its_sentence(self, workspace: Workspace, tmp_path: Path) -> None:
        folder = tmp_path / "clips"
        good = write_clip(folder / "good.mp4", 20)
        write_sound(folder / "sound.mp4")
        (folder / "text.mp4").write_text("not a video at all")
        (folder / "empty.mp4").write_bytes(b"")
        playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
        (folder / "list.mp4").write_text(playlist.format(good.as_uri()))
        whole = write_clip(folder / "whole.mp4", 100, options={"movflags": "+faststart"})
        content = whole.read_bytes()
        (folder / "cut.mp4").write_bytes(content[: 7 * len(content) // 10])
        unknown = content.replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC")
        (folder / "codec.mp4").write_bytes(unknown)
        headers = content[: content.index(b"mdat") + 4]
        (folder / "none.mp4").write_bytes(headers + bytes(len(content) - len(headers)))
        found = shown(cut(workspace, folder))
        assert [name for name in found if name.startswith("good")] == [
            "good/t000000.000.jpg",
            "good/t000001.000.jpg",
        ]
        kept = [name for name in found if name.startswith("cut")]
        assert 0 < len(kept) < 10
        said = reasons(workspace)
        assert set(said) == {
            f"{n}.mp4" for n in ("sound", "text", "empty", "list", "cut", "codec", "none")
        }
        assert said["sound.mp4"] == "it has no video stream"
        assert said["text.mp4"].startswith("not a video: Invalid data")
        assert said["empty.mp4"] == "the file is empty (0 bytes)"
        assert said["list.mp4"].startswith("not a video: Invalid data")
        assert said["cut.mp4"].endswith(f"; {len(kept)} frames are kept")
        assert "codec" in said["codec.mp4"]
        assert "decoded" in said["none.mp4"]
        index(workspace, folder)
        listed = {row["path"]: row for row in quarantined(Summary(workspace))}
        assert {path: row["reason"] for path, row in listed.items()} == said
        assert {row["stage"] for row in listed.values()} == {"frames"}

    def test_a_clip_that_was_cut_off_between_two_frames(
        self, workspace: Workspace, tmp_path: Path
    ) -> None:
        clip = write_clip(tmp_path / "clips/a.avi", 100, codec="mpeg4", gop=5)
        content = clip.read_bytes()
        clip.write_bytes(content[: content.index(b"00dc", len(content) // 2)])
        assert len(shown(cut(workspace, clip.parent))) in range(2, 9)
        assert "s: it was cut off; " in reasons(workspace)["a.avi"]

    def test_the_weather_is_no_broken_clip(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What an object store's connection says is raised as it is, to be tried again."""
        clip = write_clip(tmp_path / "a.mp4", 20)

        class Lost(io.FileIO):
            def readinto(self, buffer: Any) -> int:
                raise ConnectionResetError("the line is dead")

        def lost(_: Storage, path: str) -> Any:
            return contextlib.nullcontext(io.BufferedReader(Lost(str(tmp_path / path))))

        monkeypatch.setattr(Storage, "opened", lost)
        for place, expected in (("s3://bucket", ConnectionResetError), (tmp_path, ImageError)):
            source = Storage(str(place))
            with (
                pytest.raises(expected, match="the line is dead"),
                stretches.opened(source, clip.name, 10**6) as opened,
            ):
                opened.facts()

    def test_nothing_usable(self, workspace: Workspace, tmp_path: Path) -> None:
        (tmp_path / "clips").mkdir()
        (tmp_path / "clips/a.mp4").write_text("not a video")
        with pytest.raises(InputError, match=r"none of the 1 clips .* a\.mp4: not a video"):
            cut(workspace, tmp_path / "clips")

    def test_larger_than_the_limit(self, workspace: Workspace, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clips/a.mp4", 5)
        write_clip(tmp_path / "clips/b.png.mp4", 5)
        options = CorpusOptions(images=str(clip.parent), max_pixels=HEIGHT * WIDTH - 1)
        with pytest.raises(InputError, match="its frames are 96×64, more than the limit"):
            frames.finish(compute(frames.plan(workspace, "d", options)), 0.0, 1)


class TestMixedFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "mixed"
        write_clip(folder / "day/a.mp4", 20)
        write_clip(folder / "day/a.avi", 10, codec="mpeg4")
        write_clip(folder / "b.mp4", 10)
        write_clip(folder / "c.mp4", 10)
        for name in ("b.png", "c/t000000.000.png", "photo.jpg"):
            (folder / name).parent.mkdir(exist_ok=True)
            Image.fromarray(painted(7)).save(folder / name)
        return folder

    def test_images_and_frames_are_rows_alike(self, workspace: Workspace, folder: Path) -> None:
        cut(workspace, folder)
        reader = index(workspace, folder)
        entries = reader.entries(np.arange(reader.manifest["images"]))
        assert [(e["image_id"], e["clip"], e["seconds"]) for e in entries] == [
            ("b.mp4/t000000.000", "b.mp4", 0.0),
            ("b", None, None),
            ("c.mp4/t000000.000", "c.mp4", 0.0),
            ("c/t000000.000", None, None),
            ("day/a.avi/t000000.000", "day/a.avi", 0.0),
            ("day/a.mp4/t000000.000", "day/a.mp4", 0.0),
            ("day/a.mp4/t000001.000", "day/a.mp4", 1.0),
            ("photo", None, None),
        ]
        for _, picture in reader.images(entries):
            assert isinstance(picture, Picture)
            assert picture.pixels.shape == (HEIGHT, WIDTH, 3)

    def test_labels_belong_to_frames(
        self, workspace: Workspace, folder: Path, tmp_path: Path
    ) -> None:
        label = tmp_path / "labels/day/a.mp4/t000001.000.png"
        label.parent.mkdir(parents=True)
        Image.new("L", (WIDTH, HEIGHT), 2).save(label)
        cut(workspace, folder)
        reader = index(workspace, folder, labels=str(tmp_path / "labels"))
        (row,) = [r for r, name in enumerate(next(reader.column("label"))) if name]
        (entry,) = reader.entries(np.array([row]))
        assert entry["path"] == "day/a.mp4/t000001.000.jpg"
        labels = reader.labels(entry)
        assert labels is not None
        assert (labels == 2).all()

    def test_what_came_later_and_what_changed(self, workspace: Workspace, folder: Path) -> None:
        cut(workspace, folder)
        options = CorpusOptions(images=str(folder))
        index(workspace, folder)
        assert arrived_later(workspace, "d") == []
        shutil.copyfile(folder / "c.mp4", folder / "later.mp4")
        assert arrived_later(workspace, "d") == ["later.mp4"]
        content = (folder / "c.mp4").read_bytes()
        (folder / "c.mp4").write_bytes(content)  # touched
        assert corpus.plan(workspace, "d", options) is None
        write_clip(folder / "c.mp4", 11)
        with pytest.raises(InputError, match=r"immutable, and 1 of its files changed.*: c\.mp4"):
            corpus.plan(workspace, "d", options)

    def test_a_clip_that_changed_half_way(self, workspace: Workspace, folder: Path) -> None:
        options = CorpusOptions(images=str(folder))
        frames.plan(workspace, "d", options)
        write_clip(folder / "b.mp4", 11)
        with pytest.raises(InputError, match=r"changed since it was indexed: b\.mp4"):
            frames.plan(workspace, "d", options)

    def test_another_rate_is_another_dump(self, workspace: Workspace, folder: Path) -> None:
        cut(workspace, folder)
        with pytest.raises(
            WorkspaceError, match=r"made with another --fps: 1\.0 then, 2\.0 now; .* --dump"
        ):
            frames.plan(workspace, "d", CorpusOptions(images=str(folder), fps=2))

    def test_a_dump_of_images_stays_one(self, workspace: Workspace, tmp_path: Path) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        Image.fromarray(painted(7)).save(folder / "photo.jpg")
        reader = index(workspace, folder)
        assert not reader.has_clips
        assert "clip" not in reader.entries(np.array([0]))[0]
        write_clip(folder / "later.mp4", 10)
        assert not frames.has_clips(workspace, "d", CorpusOptions(images=str(folder)))


def test_one_file_is_a_dump(workspace: Workspace, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clips/drive.mp4", 20)
    write_clip(tmp_path / "clips/other.mp4", 20)
    assert default_dump(str(clip)) == "drive"
    assert list(shown(cut(workspace, clip))) == ["drive/t000000.000.jpg", "drive/t000001.000.jpg"]
    reader = index(workspace, clip)
    assert reader.manifest["images"] == 2
    assert arrived_later(workspace, "d") == []
    write_clip(clip, 21)
    with pytest.raises(InputError, match=r"changed since it was indexed: drive\.mp4"):
        corpus.plan(workspace, "d", CorpusOptions(images=str(clip)))


def test_on_s3(s3_environment: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "drive.mkv", 35)
    Storage(s3_environment).write("clips/day/drive.mkv", clip.read_bytes())
    Storage(s3_environment).write("clips/broken.mp4", b"not a video")
    workspace = Workspace.create(f"{s3_environment}/ws")
    options = CorpusOptions(images=f"{s3_environment}/clips")
    frames.finish(compute(frames.plan(workspace, "clips", options)), 0.0, 1)
    stage = corpus.plan(workspace, "clips", options)
    assert corpus.finish(workspace, compute(stage), 0.0, 1)["images"] == 4
    assert corpus.plan(workspace, "clips", options) is None
    source, (file,) = video_files.root_and_files(Storage(f"{s3_environment}/clips/day/drive.mkv"))
    assert (source.uri, file.path) == (f"{s3_environment}/clips/day", "drive.mkv")
    (bad,) = quarantined(Summary(workspace))
    assert (bad["dump"], bad["path"], bad["stage"]) == ("clips", "broken.mp4", "frames")
    names = workspace.storage.names("frames/clips/images/day/drive")
    assert names == [f"t{second:06d}.000.jpg" for second in range(4)]
    manifest = json.loads(workspace.storage.read("frames/clips/manifest.json"))
    assert (manifest["clips"], manifest["frames"], manifest["quarantined"]) == (2, 4, 1)
