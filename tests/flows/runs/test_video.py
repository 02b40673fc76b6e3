"""Videos through the whole pipeline: run, backfill, status, smoothing, an inbox of clips."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from flags import QUICK, TINY
from PIL import Image

import tasks.masks.stage
from flows.cli.main import main
from flows.demo.scenes import scene, scene_generator
from tasks.engine.steps import LoopExecutor
from tasks.options import MasksOptions
from tasks.workspace.workspace import Workspace

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect"), pytest.mark.timeout(300)]
STILLS, SECONDS, RATE = 4, 4, 3


def write_scene(path: Path, seconds: int, first: int) -> None:
    """A clip of a scene that stands still, with noise; another scene every two seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(first)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for index in range(seconds * RATE):
            image, _ = scene(scene_generator(0, first + index // (2 * RATE)), (64, 96))
            noisy = (image + draw.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[..., Path], prefect: None
) -> Path:
    """A finished workspace `ws` of a mixed folder."""
    folder = tmp_path_factory.mktemp("video")
    make_corpus(folder / "mixed", STILLS - 1, size=(64, 96))
    shutil.copyfile(folder / "mixed/images/s000.png", folder / "mixed/images/photo.png")
    write_scene(folder / "mixed/images/day/drive.mp4", SECONDS, 10)
    write_scene(folder / "mixed/images/night.mkv", SECONDS, 20)
    (folder / "mixed/images/broken.mp4").write_text("not a video")
    main([
        "run", "--workspace", str(folder / "ws"), "--images", str(folder / "mixed/images"),
        "--dump", "mixed", "--fps", str(RATE), "--classes", "4", "--neighbors", "8",
        "--executor", "loop", *TINY, *QUICK,
    ])  # fmt: skip
    return folder


def status(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    main(["status", "--workspace", str(folder / "ws"), "--json"])
    return dict(json.loads(capsys.readouterr().out))


def masks(folder: Path, dump: str) -> dict[str, bytes]:
    key = json.loads((folder / "ws/current.json").read_text())["keys"]["masks"]
    place = folder / "ws/masks" / key / dump
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*.png")}


def test_frames_and_images_have_masks(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = masks(finished, "mixed")
    frames = [name for name in found if "/t0000" in name]
    assert len(found) == STILLS + 2 * SECONDS * RATE
    assert len(frames) == 2 * SECONDS * RATE
    assert "day/drive/t000003.667.png" in frames
    document = status(finished, capsys)
    assert document["dumps"]["mixed"]["images"] == len(found)
    assert 0 <= document["dumps"]["mixed"]["flicker"] < 1
    (bad,) = document["quarantine"]
    assert (bad["path"], bad["stage"]) == ("broken.mp4", "frames")
    main(["status", "--workspace", str(finished / "ws")])
    shown = capsys.readouterr().out
    assert "flicker" in shown
    assert "broken.mp4: not a video" in shown
    report = (finished / "ws/reports/latest/index.html").read_text()
    assert "broken.mp4" in report
    assert "temporal inconsistency, %" in report


def test_smoothing_is_another_key_and_off_is_the_old_one(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, before = masks(finished, "mixed"), status(finished, capsys)
    command = ["masks", "--workspace", str(finished / "ws"), "--executor", "loop"]
    main([*command, "--smooth-frames", "2"])
    smooth, after = masks(finished, "mixed"), status(finished, capsys)
    assert after["keys"]["masks"] != before["keys"]["masks"]
    assert smooth.keys() == plain.keys()
    assert smooth["photo.png"] == plain["photo.png"]
    assert smooth != plain
    assert 0 <= after["dumps"]["mixed"]["flicker"] < 1
    main([*command, "--smooth-frames", "0"])
    assert status(finished, capsys)["keys"]["masks"] == before["keys"]["masks"]
    assert masks(finished, "mixed") == plain


def test_neighbours_outside_the_shard_count(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "ws", tmp_path / "ws")
    shutil.rmtree(tmp_path / "ws/masks")
    workspace = Workspace.open(str(tmp_path / "ws"))
    clusters = workspace.last_run()["keys"]["clusters"]
    options = MasksOptions(resolution=64, smooth_frames=2)
    found = []
    for size in (3, 8):
        monkeypatch.setattr(tasks.masks.stage, "SMOOTHED_IMAGES", size)
        stage = tasks.masks.stage.plan(workspace, "mixed", clusters, options, "cpu")
        assert stage is not None
        list(LoopExecutor().map(stage.work.steps(), range(stage.shards)))
        place = tmp_path / "ws" / stage.folder.path
        found.append({path.name: path.read_bytes() for path in place.rglob("t*.png")})
        shutil.rmtree(place)
    assert found[0] == found[1]


def test_backfill_of_one_clip_and_of_an_inbox(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = ["--workspace", str(finished / "ws"), "--executor", "loop"]
    write_scene(finished / "new/tuesday.mp4", 3, 30)
    main(["backfill", *workspace, "--images", str(finished / "new/tuesday.mp4")])
    assert sorted(masks(finished, "tuesday")) == [
        f"tuesday/t{second:06d}.000.png" for second in range(3)
    ]
    write_scene(finished / "inbox/wednesday/a.avi", 2, 40)
    main(["backfill", *workspace, "--inbox", str(finished / "inbox"), "--fps", str(RATE)])
    assert len(masks(finished, "wednesday")) == 2 * RATE
    records = {p: p.stat().st_mtime_ns for p in (finished / "ws").rglob("records/*.json")}
    main(["backfill", *workspace, "--inbox", str(finished / "inbox")])
    main(["backfill", *workspace, "--images", str(finished / "new/tuesday.mp4")])
    assert records == {p: p.stat().st_mtime_ns for p in (finished / "ws").rglob("records/*.json")}
    capsys.readouterr()
    write_scene(finished / "new/tuesday.mp4", 4, 30)
    with pytest.raises(SystemExit):
        main(["backfill", *workspace, "--images", str(finished / "new/tuesday.mp4")])
    assert "files changed since it was indexed: tuesday.mp4" in " ".join(
        capsys.readouterr().err.split()
    )


def test_frames_are_the_clip_s(finished: Path) -> None:
    place = finished / "ws/frames/mixed/images/night"
    images = {path.name: np.asarray(Image.open(path)) for path in place.iterdir()}
    assert len(images) == SECONDS * RATE
    expected, _ = scene(scene_generator(0, 21), (64, 96))
    assert np.abs(images["t000002.000.jpg"].astype(int) - expected).mean() < 12


def test_clips_are_exported_with_their_masks(finished: Path, tmp_path: Path) -> None:
    main([
        "export", "--workspace", str(finished / "ws"), "--format", "video", "--dumps", "mixed",
        "--out", str(tmp_path / "out"),
    ])  # fmt: skip
    for name in ("day/drive.mp4.mp4", "night.mkv.mp4"):
        with av.open(str(tmp_path / "out/videos/mixed" / name)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        np.testing.assert_allclose(times, np.arange(SECONDS * RATE) / RATE, atol=1e-3)
    manifest = json.loads((tmp_path / "out/export.json").read_text())
    told = [row["reason"] for row in manifest["skipped"]]
    assert manifest["images"] == 2 * SECONDS * RATE
    assert told.count("it is no frame of a video") == STILLS
    assert len(told) == STILLS + 1  # and the broken clip
