"""Reading videos: what a clip is, and the frames that are on display at stated moments.

Written on PyAV's packets: FFmpeg's filter `fps` and torchcodec read a clip in one pass; here
workers decode stretches of it with the frames of one pass, whatever a container's clock rounds.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from stego_core.errors import ImageError, StegoError
from stego_core.video.display import AS_STORED, shown_size, upright
from stego_core.video.frame_order import sample

CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,mxf,dv"
"""Demuxers that may see a user's bytes, whatever the file's name: a playlist would have FFmpeg open
other files and addresses."""
UNTIMED = ("avi",)
"""Demuxers of containers that store no time of display: what stands for it is in the order of
decoding, wrong wherever frames are predicted from later ones. The decoder's own clock is right."""
SEEK_BACK = (0, 10, 60)
"""Seconds before the frame that is sought, until its key frame is found; then from the start."""
SLACK = Fraction(1, 2000)
"""Seconds by which a frame may come early, at most half a unit of the clip's clock: containers that
count milliseconds have rounded."""
JUMP = Fraction(1)
"""Seconds that timestamps may step back; such frames are left out."""


class Facts(NamedTuple):
    """What is known of a clip before it is decoded.

    Attributes:
        origin: timestamp of the first frame, which is the clip's second 0.
        base: seconds of a timestamp's unit.
        seconds: length as the file states it; None where it does not.
        exact: whether that is the length of the pictures alone, not that of sound as well.
        pixels: of a frame as it is shown, as stated.
    """

    origin: int
    base: Fraction
    seconds: float | None
    exact: bool
    pixels: int


class Sampled(NamedTuple):
    """A frame that is on display at a moment.

    Attributes:
        moment: k of k / rate seconds, the first at which it is.
        pts: its timestamp.
        pixels: (H, W, 3) uint8 RGB, as players show it: upright, with square pixels.
    """

    moment: int
    pts: int
    pixels: NDArray[np.uint8]


class ClipSummary:
    """A file that remembers why it could not be read: FFmpeg's own errors look alike."""

    def __init__(self, file: BinaryIO) -> None:
        """Watch this file."""
        self.file = file
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        """As of any file."""
        content: bytes = self._watched(self.file.read, size)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        return int(self._watched(self.file.seek, offset, whence))

    def tell(self) -> int:
        """As of any file."""
        return self.file.tell()

    def _watched(self, call: Any, *arguments: int) -> Any:
        try:
            return call(*arguments)
        except BaseException as error:
            self.error = error
            raise


@contextmanager
def _told(source: ClipSummary, what: str) -> Iterator[None]:
    """Every way in which a clip can be broken as one sentence; why it could not be read, as it is.

    Raises:
        ImageError: the clip is broken.
    """
    try:
        yield
    except StegoError:
        raise
    except Exception as error:
        if source.error is not None:
            raise source.error from None
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ImageError(f"{what}: {reason or type(error).__name__}") from None


@dataclass
class Clip:
    """An opened video.

    Attributes:
        source: its bytes.
        max_pixels: frames of more are refused.
        end: seconds at which the last decoded frame goes, None before the first.
        aspect: width of a pixel by its height; known once it is opened.
    """

    source: ClipSummary
    max_pixels: int
    end: Fraction | None = None
    aspect: Fraction = Fraction(1)

    @contextmanager
    def _container(self) -> Iterator[tuple[InputContainer, Any]]:
        """The container from its beginning, and its one stream of pictures.

        Raises:
            ImageError: it is no video, or has no pictures that can be decoded.
        """
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
        self.source.seek(0)
        with _told(self.source, "not a video"):
            container = av.open(self.source, "r", container_options=options)
        with container:
            found = [
                stream
                for stream in container.streams.video
                if not stream.disposition & Disposition.attached_pic  # an album's cover
            ]
            if not found:
                raise ImageError("it has no video stream")
            stream = found[0]
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all
            if stream.codec_context is None:
                raise ImageError("no decoder knows its codec")
            if stream.time_base is None:
                raise ImageError("its video stream has no clock")
            self.aspect = Fraction(stream.sample_aspect_ratio or 1)
            height, width = shown_size(stream.height, stream.width, self.aspect)
            self._check(width, height)
            stream.codec_context.thread_count = 1  # workers share the cores
            yield container, stream

    def _check(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise ImageError(
                f"its frames are {width}×{height}, more than the limit of {self.max_pixels:,} "
                "pixels; raise --max-pixels if it is meant"
            )

    def facts(self) -> Facts:
        """What its header and its first frame tell.

        Raises:
            ImageError: it is no video, or not one frame can be decoded.
        """
        with self._container() as (container, stream):
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise ImageError("it has no frame that can be decoded")
            stated, exact = stream.duration and stream.duration * stream.time_base, True
            if stated is None and container.duration:
                stated, exact = Fraction(container.duration, av.time_base), False
            seconds = float(stated) if stated and stated > 0 else None
            pixels = math.prod(shown_size(stream.height, stream.width, self.aspect))
            return Facts(first[0], stream.time_base, seconds, exact, pixels)

    def sampled(
        self, facts: Facts, rate: Fraction, first: int, last: int | None
    ) -> Iterator[Sampled]:
        """The frames on display at the moments first / rate … (last − 1) / rate, each once.

        The frame on display at a moment is the last one whose timestamp is not later, by more
        than SLACK.

        Args:
            facts: of the clip.
            rate: moments per second.
            first: the first moment.
            last: the moment past the last one; None: to the end.

        Raises:
            ImageError: it breaks on the way; the frames before have been given.
        """
        held: tuple[Fraction, int, VideoFrame] | None = None
        self.end = None
        for pts, frame in self._from(facts, Fraction(max(first - 1, 0)) / rate):
            start = (pts - facts.origin) * facts.base - min(facts.base / 2, SLACK)
            if held is not None:
                if start < held[0] - JUMP:
                    raise ImageError(
                        f"its timestamps jump back from {_clock(held[0])} to {_clock(start)}"
                    )
                if start <= held[0]:
                    continue
                yield from self._shown(held, start, rate, first)
            held = start, pts, frame
            self.end = start + max(frame.duration or 1, 1) * facts.base  # if no other comes
            if last is not None and math.ceil(start * rate) >= last:
                return
        if held is not None:
            yield from self._shown(held, self.end or held[0], rate, first)

    def _shown(
        self, held: tuple[Fraction, int, VideoFrame], end: Fraction, rate: Fraction, first: int
    ) -> Iterator[Sampled]:
        """The held frame, which stays until `end`, if a moment from `first` on falls into it."""
        start, pts, frame = held
        moment = sample(start, end, rate)
        if moment is not None and moment >= first:
            height, width = shown_size(frame.height, frame.width, self.aspect)
            self._check(width, height)
            with _told(self.source, f"the frame at {_clock(start)} has no colours"):
                pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
            yield Sampled(moment, pts, upright(np.asarray(pixels), _matrix(frame)))

    def _from(self, facts: Facts, moment: Fraction) -> Iterator[tuple[int, VideoFrame]]:
        """Timestamps and frames from a key frame on, at the latest that of a moment."""
        wanted = facts.origin + math.floor(moment / facts.base)
        with self._container() as (container, stream):
            for back in SEEK_BACK:
                target = wanted - math.floor(back / facts.base)
                if target <= facts.origin:
                    break
                if not self._sought(container, stream, target):
                    break
                frames = self._decoded(container, stream)
                found = next(frames, None)
                if found is not None and found[0] <= wanted:
                    yield from chain([found], frames)
                    return
        with self._container() as (container, stream):
            yield from self._decoded(container, stream)

    def _sought(self, container: InputContainer, stream: Any, target: int) -> bool:
        """Go to the key frame before a timestamp, where the container can."""
        try:
            with _told(self.source, "it cannot be sought in"):
                container.seek(target, stream=stream)
        except ImageError:
            return False
        return True

    def _decoded(self, container: InputContainer, stream: Any) -> Iterator[tuple[int, VideoFrame]]:
        """Timestamps and frames in order of display, from the first key frame on."""
        last, zero = None, stream.start_time or 0
        frames = container.decode(stream)
        while True:
            at = "" if last is None else f" after {_clock((last - zero) * stream.time_base)}"
            with _told(self.source, f"it cannot be decoded{at}"):
                frame = next(frames, None)
            if frame is None:
                return
            if last is None and (frame.is_corrupt or not frame.key_frame):
                continue  # what a seek or a recording begins with
            if frame.is_corrupt:
                raise ImageError(f"it is damaged{at}")
            times = (frame.dts,) if container.format.name in UNTIMED else (frame.pts, frame.dts)
            pts = next((time for time in times if time is not None), None)
            if pts is None:
                pts = 0 if last is None else last + max(frame.duration or 1, 1)
            last = pts
            yield pts, frame


def _matrix(frame: VideoFrame) -> Sequence[int]:
    """The display matrix of a frame: see `upright`."""
    side_data: Any = frame.side_data
    found = side_data.get(Type.DISPLAYMATRIX)
    return AS_STORED if found is None else tuple(np.frombuffer(found, np.int32).tolist())


def _clock(seconds: Fraction) -> str:
    return f"{float(seconds):.2f} s"
