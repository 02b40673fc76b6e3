"""Overlay videos: every frame at its time, in the classes' colours, one file per clip."""

from pathlib import Path

import av
import numpy as np
import pytest

from stego_core.errors import InputError
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.video.encoding import OverlayVideo

HEIGHT, WIDTH = 41, 62
IMAGE = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def decoded(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def halves(left: int, right: int) -> np.ndarray:
    mask = np.full((HEIGHT, WIDTH), left, np.uint8)
    mask[:, WIDTH // 2 :] = right
    return mask


@pytest.fixture
def classes() -> ClassNames:
    """Three clusters: the last one counts as the first."""
    return ClassNames.create(["a", "b", "c"]).edited(0, colour="#ff0000").merged([2], 0)


def test_colours_times_and_files(tmp_path: Path, classes: ClassNames) -> None:
    writer = OverlayVideo(tmp_path, classes, rate=2)
    times = [0.0, 0.5, 1.0, 4.5]
    for seconds in times:
        writer.add(IMAGE, classes.display_table()[halves(2, VOID_BYTE)], "day/a", seconds)
    writer.add(IMAGE[:20, :30], halves(1, 1)[:20, :30], "day/b", 0.0)
    writer.add(IMAGE, halves(1, 1), "day/b", 0.5)
    files = writer.end()
    assert sorted(files) == ["day/a.mp4", "day/b.mp4"]
    first = decoded(files["day/a.mp4"])
    assert [time for time, _ in first] == times
    for _, pixels in first:
        assert pixels.shape == (HEIGHT + 1, WIDTH, 3)
        np.testing.assert_allclose(pixels[20, 10], [178, 50, 50], atol=12)
        np.testing.assert_allclose(pixels[20, 50], IMAGE[20, 50], atol=12)
    second = decoded(files["day/b.mp4"])
    assert [pixels.shape for _, pixels in second] == [(20, 30, 3)] * 2
    colour = (classes.colours()[1].astype(int) + 100) // 2
    np.testing.assert_allclose(second[1][1][10, 10], colour, atol=12)
    with av.open(str(files["day/a.mp4"])) as container:
        assert container.duration == 5 * av.time_base


def test_an_encoder_that_every_build_has(
    tmp_path: Path, classes: ClassNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    writer = OverlayVideo(tmp_path, classes, rate=1)
    writer.add(IMAGE, halves(0, 1), "a", 0.0)
    assert len(decoded(writer.end()["a.mp4"])) == 1


def test_order_is_checked(tmp_path: Path, classes: ClassNames) -> None:
    writer = OverlayVideo(tmp_path, classes, rate=1)
    writer.add(IMAGE, halves(0, 1), "a", 1.0)
    with pytest.raises(InputError, match=r"come out of order, at 1\.000 s"):
        writer.add(IMAGE, halves(0, 1), "a", 1.0)
    writer.add(IMAGE, halves(0, 1), "b", 0.0)
    with pytest.raises(InputError, match="frames of a come apart"):
        writer.add(IMAGE, halves(0, 1), "a", 2.0)


def test_nothing_makes_no_file(tmp_path: Path, classes: ClassNames) -> None:
    writer = OverlayVideo(tmp_path, classes, rate=1)
    assert writer.end() == {}


def test_a_video_that_is_broken_off_is_closed(tmp_path: Path, classes: ClassNames) -> None:
    writer = OverlayVideo(tmp_path, classes, rate=1)
    writer.add(IMAGE, halves(0, 1), "a", 0.0)
    container = writer.container
    writer.abort()
    with pytest.raises((OSError, ValueError, AssertionError, RuntimeError)):
        container.add_stream("mpeg4")
    writer.abort()  # nothing is open any more
