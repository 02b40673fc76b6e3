"""Clips read directly: their facts, and the frames on display from any moment on."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from clip_files import HEIGHT, WIDTH, number, write_clip, write_sound

from stego_core.errors import ImageError
from tasks.video.clip_errors import WatchedFile
from tasks.video.decoding import Clip, Facts

LIMIT = 10**6
RATE = Fraction(3)


def opened(path: Path, limit: int = LIMIT) -> Clip:
    return Clip(WatchedFile(io.BytesIO(path.read_bytes())), limit)


def sampled(path: Path, first: int = 0, last: int | None = None) -> list[tuple[int, int]]:
    """The moments and the numbers that the frames on display show."""
    clip = opened(path)
    return [(s.moment, number(s.pixels)) for s in clip.sampled(clip.facts(), RATE, first, last)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames in four seconds, a key frame after each eight."""
    return write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", 40, gop=8)


class TestFacts:
    def test_of_a_clip_whose_length_is_stated(self, clip: Path) -> None:
        facts = opened(clip).facts()
        assert (facts.seconds, facts.exact, facts.pixels) == (4.0, True, HEIGHT * WIDTH)

    def test_of_a_clock_that_does_not_begin_at_zero(self, tmp_path: Path) -> None:
        """The first frame is the clip's second 0, whatever its timestamp."""
        late = write_clip(tmp_path / "a.mkv", 3, milliseconds=[500, 800, 1100])
        assert opened(late).facts().origin * opened(late).facts().base == Fraction(1, 2)
        assert sampled(late) == [(0, 0), (1, 1), (2, 2)]

    def test_pixels_count_as_they_are_displayed(self, tmp_path: Path) -> None:
        wide = write_clip(tmp_path / "a.mp4", 2, aspect=Fraction(2))
        assert opened(wide).facts().pixels == HEIGHT * 2 * WIDTH


class TestSampled:
    def test_each_frame_once_at_the_first_moment_it_is_on_display(self, clip: Path) -> None:
        assert sampled(clip) == [(k, 10 * k // 3) for k in range(12)]

    @pytest.mark.parametrize(("first", "last"), [(0, 5), (4, 9), (7, None), (11, None), (12, None)])
    def test_a_stretch_is_a_part_of_the_whole(
        self, clip: Path, first: int, last: int | None
    ) -> None:
        whole = [frame for frame in sampled(clip) if first <= frame[0] < (last or 99)]
        assert sampled(clip, first, last) == whole

    def test_the_end_is_that_of_the_last_frame(self, clip: Path) -> None:
        read = opened(clip)
        assert list(read.sampled(read.facts(), RATE, 99, None)) == []
        assert read.end is not None
        assert float(read.end) == pytest.approx(4, abs=1e-3)

    def test_timestamps_that_jump_back(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read, facts = opened(clip), Facts(0, Fraction(1), None, True, 0)
        (_, frame), *_ = list(read._frames_from(read.facts(), Fraction(0)))

        def jumping(*_: Any) -> Iterator[tuple[int, Any]]:
            yield from ((time, frame) for time in (0, 5, 5, 4, 3))

        monkeypatch.setattr(Clip, "_frames_from", jumping)
        frames = read.sampled(facts, Fraction(1), 0, None)
        assert next(frames).moment == 0
        with pytest.raises(ImageError, match=r"jump back from 5\.00 s to 3\.00 s"):
            next(frames)


class TestBroken:
    def test_frames_of_more_pixels_than_allowed(self, clip: Path) -> None:
        with pytest.raises(ImageError, match=r"96×64, more than the limit of 6,143 .*--max-pixels"):
            opened(clip, HEIGHT * WIDTH - 1).facts()

    def test_no_video(self, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_text("no video")
        with pytest.raises(ImageError, match="not a video: Invalid data"):
            opened(tmp_path / "a.mp4").facts()

    def test_no_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="it has no video stream"):
            opened(write_sound(tmp_path / "a.mp4")).facts()
