"""Reading videos: the facts of a clip, and the frames that are on display at given moments.

Written on PyAV's packets: FFmpeg's filter `fps` and torchcodec read a clip in one pass; here
workers decode stretches of it with the frames of one pass, whatever a container's clock rounds.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from stego_core.errors import ImageError
from stego_core.video.display import shown_size, upright
from stego_core.video.frame_order import sample
from tasks.video.clip_errors import WatchedFile, image_errors

CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,mxf,dv"
"""Demuxers that may see a user's bytes, whatever the file's name: a playlist would have FFmpeg open
other files and addresses."""
UNTIMED = ("avi",)
"""Demuxers of containers without times of display. Their timestamps are in the order of decoding,
which is wrong where frames are predicted from later ones; the decoder's own clock is right."""
SEEK_BACK = (0, 10, 60)
"""Seconds before a frame at which its key frame is sought, in this order; then from the start."""
SLACK = Fraction(1, 2000)
"""Seconds by which a frame may come early, at most half a unit of the clip's clock, since
containers that count milliseconds round."""
JUMP = Fraction(1)
"""Seconds that timestamps may step back; such frames are left out."""


class Facts(NamedTuple):
    """The facts of a clip that are known before it is decoded.

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


class _Displayed(NamedTuple):
    """A decoded frame, and the second at which it appears."""

    start: Fraction
    pts: int
    frame: VideoFrame


@dataclass
class Clip:
    """An opened video.

    Attributes:
        max_pixels: frames of more are refused.
        end: seconds at which the last decoded frame goes, None before the first.
        aspect: width of a pixel by its height; known once it is opened.
    """

    source: WatchedFile
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
        with image_errors(self.source, lambda: "not a video"):
            container = av.open(self.source, "r", container_options=options)
        with container:
            cover = Disposition.attached_pic  # of an album
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if not streams:
                raise ImageError("it has no video stream")
            stream = streams[0]
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
        """The facts of its header and its first frame.

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
        than SLACK. Without `last` they go on to the clip's end.

        Raises:
            ImageError: it breaks on the way; the frames before have been given.
        """
        last_frame: _Displayed | None = None
        self.end = None
        for pts, frame in self._frames_from(facts, Fraction(max(first - 1, 0)) / rate):
            start = (pts - facts.origin) * facts.base - min(facts.base / 2, SLACK)
            if last_frame is not None:
                if start < last_frame.start - JUMP:
                    raise ImageError(
                        f"its timestamps jump back from {_clock(last_frame.start)} to "
                        f"{_clock(start)}"
                    )
                if start <= last_frame.start:
                    continue
                yield from self._sampled(last_frame, start, rate, first)
            last_frame = _Displayed(start, pts, frame)
            self.end = start + max(frame.duration or 1, 1) * facts.base  # if no other comes
            if last is not None and math.ceil(start * rate) >= last:
                return
        if last_frame is not None:
            yield from self._sampled(last_frame, self.end or last_frame.start, rate, first)

    def _sampled(
        self, displayed: _Displayed, end: Fraction, rate: Fraction, first: int
    ) -> Iterator[Sampled]:
        """A frame that stays until `end`, if a moment from `first` on falls into that time."""
        start, pts, frame = displayed
        moment = sample(start, end, rate)
        if moment is not None and moment >= first:
            height, width = shown_size(frame.height, frame.width, self.aspect)
            self._check(width, height)
            with image_errors(self.source, lambda: f"the frame at {_clock(start)} has no colours"):
                array = frame.to_ndarray(format="rgb24", width=width, height=height)
            pixels, side_data = np.asarray(array, np.uint8), cast(Any, frame.side_data)
            if (matrix := side_data.get(Type.DISPLAYMATRIX)) is not None:
                pixels = upright(pixels, np.frombuffer(matrix, np.int32).tolist())
            yield Sampled(moment, pts, pixels)

    def _frames_from(self, facts: Facts, moment: Fraction) -> Iterator[tuple[int, VideoFrame]]:
        """Timestamps and frames from a key frame on, at the latest that of a moment."""
        with self._container() as (container, stream):
            frames = self._frames_after_seek(container, stream, facts, moment)
            if frames is not None:
                yield from frames
                return
        with self._container() as (container, stream):
            yield from self._decoded(container, stream)

    def _frames_after_seek(
        self, container: InputContainer, stream: Any, facts: Facts, moment: Fraction
    ) -> Iterator[tuple[int, VideoFrame]] | None:
        """As `_frames_from`; None where the clip has to be read from its beginning."""
        latest = facts.origin + math.floor(moment / facts.base)
        for seconds in SEEK_BACK:
            target = latest - math.floor(seconds / facts.base)
            if target <= facts.origin or not self._seek(container, stream, target):
                return None
            frames = self._decoded(container, stream)
            first = next(frames, None)
            if first is not None and first[0] <= latest:
                return chain([first], frames)
        return None

    def _seek(self, container: InputContainer, stream: Any, target: int) -> bool:
        """Go to the key frame before a timestamp; False where the container cannot."""
        try:
            with image_errors(self.source, lambda: "it has no index"):
                container.seek(target, stream=stream)
        except ImageError:
            return False
        return True

    def _decoded(self, container: InputContainer, stream: Any) -> Iterator[tuple[int, VideoFrame]]:
        """Timestamps and frames in order of display, from the first key frame on."""
        last: int | None = None

        def position() -> str:
            zero = stream.start_time or 0
            return "" if last is None else f" after {_clock((last - zero) * stream.time_base)}"

        with image_errors(self.source, lambda: f"it cannot be decoded{position()}"):
            for frame in container.decode(stream):
                if last is None and (frame.is_corrupt or not frame.key_frame):
                    continue  # the first frames after a seek, or of a recording
                if frame.is_corrupt:
                    raise ImageError(f"it is damaged{position()}")
                last = _timestamp(frame, container.format.name, last)
                yield last, frame


def _timestamp(frame: VideoFrame, container: str, last: int | None) -> int:
    """A frame's timestamp; one without follows the last one."""
    for time in (frame.dts,) if container in UNTIMED else (frame.pts, frame.dts):
        if time is not None:
            return int(time)
    return 0 if last is None else last + max(frame.duration or 1, 1)


def _clock(seconds: Fraction) -> str:
    return f"{float(seconds):.2f} s"
