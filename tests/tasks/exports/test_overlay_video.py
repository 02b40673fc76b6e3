"""Format video: which images become frames, and where the clips' videos go."""

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from stego_core.errors import ImageError
from stego_core.labels.class_names import ClassNames
from tasks.exports.overlay_video import Video
from tasks.exports.writer import LabelledImage, Target
from tasks.options import ExportOptions
from tasks.storage.storage import Storage
from tasks.storage.uploads import Uploads
from tasks.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(str(tmp_path / "ws"))
    for dump in ("day", "night"):
        workspace.folder("frames", dump).finish({"fps": 2.0})
    return workspace


def frame(workspace: Workspace, dump: str, clip: str | None, seconds: float = 0.0) -> LabelledImage:
    source = SimpleNamespace(index=SimpleNamespace(workspace=workspace))
    image = SimpleNamespace(
        dump=dump,
        source=source,
        entry={"clip": clip, "seconds": seconds},
        pixels=np.full((16, 24, 3), 90, np.uint8),
        ids=np.zeros((16, 24), np.uint8),
    )
    return cast(LabelledImage, image)


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_each_clip_of_each_dump_is_a_video(tmp_path: Path, workspace: Workspace) -> None:
    (tmp_path / "temporary").mkdir()
    with ExitStack() as on_exit, Uploads(Storage.at(str(tmp_path / "out"))) as uploads:
        video = Video(Target(uploads, tmp_path / "temporary", on_exit), ExportOptions())
        video.begin(ClassNames.create(["road", "sky"]), ["day", "night"])
        clips: list[tuple[str, Any, float]] = [
            ("day", "a.mp4", 0.0), ("day", "a.mp4", 0.5), ("day", "b.mp4", 0.0),
            ("night", "a.mp4", 0.0),
        ]  # fmt: skip
        for dump, clip, seconds in clips:
            video.add(frame(workspace, dump, clip, seconds))
        with pytest.raises(ImageError, match="no frame of a video"):
            video.add(frame(workspace, "day", None))
        files = video.end()
        counts = {path: frames_in(file) for path, file in files.items()}
    paths = ["videos/day/a.mp4.mp4", "videos/day/b.mp4.mp4", "videos/night/a.mp4.mp4"]
    assert counts == dict(zip(paths, (2, 1, 1), strict=True))
