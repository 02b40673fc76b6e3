"""Writing videos: frames with their masks blended over them, one file per clip."""

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from stego_core.errors import InputError
from stego_core.images.geometry import resize
from stego_core.images.palette import overlay
from stego_core.labels.class_names import ClassNames
from stego_core.labels.void import VOID_BYTE
from tasks.storage.refusal_errors import write_errors

ENCODERS = ("libx264", "mpeg4", "libvpx-vp9")
"""The first one that this build of FFmpeg has."""
CLOCK = Fraction(1, 48_000)
"""Seconds of a timestamp's unit: frames stand at their own times, however irregular."""


class OverlayVideo:
    """Frames of clips, one after another; each is encoded as it comes, and none is kept.

    Pixels of no class show the image as it is. Frames of another size than their clip's first
    one are resized to it; odd sides get one more row or column, as players want even ones.
    """

    def __init__(self, folder: Path, classes: ClassNames, rate: float) -> None:
        """Make files in a local folder; by `rate`, frames per second, a clip's last frame stays."""
        self.folder = folder
        self.colours, self.rate = classes.colours(), Fraction(str(rate))
        self.files: dict[str, Path] = {}
        self.clip: str | None = None
        self.last_pts = 0
        self.container: Any = None

    def add(
        self, image: NDArray[np.uint8], ids: NDArray[np.uint8], clip: str, seconds: float
    ) -> None:
        """Encode a frame; the frames of a clip come together and in order of time.

        Args:
            image: (H, W, 3) uint8.
            ids: (H, W) uint8 class ids; VOID_BYTE is none.
            clip: relative path of the clip, which names the file.
            seconds: moment in the clip.

        Raises:
            InputError: the frame comes out of order.
            CapacityError: the disk is full.
        """
        blended = overlay(image, self.colours[ids], covered=ids != VOID_BYTE)
        pts = round(Fraction(seconds) / CLOCK)
        with write_errors(str(self.folder)):
            if clip != self.clip:
                self._close()
                self._open(clip, blended)
            elif pts <= self.last_pts:
                raise InputError(f"frames of {clip} come out of order, at {seconds:.3f} s")
            self.last_pts = pts
            self._encode(blended, pts)

    def end(self) -> Mapping[str, Path]:
        """The finished files, by the clips' paths with the ending .mp4 added.

        Raises:
            CapacityError: the disk is full.
        """
        with write_errors(str(self.folder)):
            self._close()
        return {f"{clip}.mp4": file for clip, file in self.files.items()}

    def abort(self) -> None:
        """Close the encoder and its unfinished file, if one is open: an error ended the export."""
        if self.container is not None:
            with suppress(OSError):  # the error that ended the export is the one to raise
                self.container.close()
        self.clip, self.container = None, None

    def _open(self, clip: str, first: NDArray[np.uint8]) -> None:
        if clip in self.files:
            raise InputError(f"frames of {clip} come apart: other clips' lie between them")
        path = self.folder / f"{len(self.files):06d}.mp4"
        self.clip, self.files[clip] = clip, path
        self.size = first.shape[0], first.shape[1]
        self.container = av.open(str(path), "w", options={"movflags": "+faststart"})
        encoder = next(name for name in ENCODERS if name in av.codecs_available)
        stream: Any = self.container.add_stream(encoder, rate=self.rate)
        stream.height, stream.width = (side + side % 2 for side in self.size)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = CLOCK
        stream.codec_context.max_b_frames = 0  # else irregular times make the file state less
        self.stream = stream

    def _encode(self, pixels: NDArray[np.uint8], pts: int) -> None:
        height, width = self.size
        even = ((0, height % 2), (0, width % 2), (0, 0))
        frame = VideoFrame.from_ndarray(
            np.pad(resize(pixels, height, width), even, "edge"), format="rgb24"
        )
        frame.pts, frame.time_base = pts, CLOCK
        frame.duration = round(1 / self.rate / CLOCK)
        self.container.mux(self.stream.encode(frame))

    def _close(self) -> None:
        if self.container is not None:
            self.container.mux(self.stream.encode(None))
            self.container.close()
        self.clip, self.container = None, None
