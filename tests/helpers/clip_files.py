"""Small videos made on the spot; every frame shows its own number as black and white bars."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

BITS, BAR, HEIGHT = 8, 12, 64
WIDTH = BITS * BAR


def painted(number: int) -> np.ndarray:
    """A frame that shows a number below 256; its upper half is grey."""
    bars = np.repeat([255 * (number >> bit & 1) for bit in range(BITS)], BAR)
    frame = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    frame[HEIGHT // 2 :] = bars[None, :, None]
    return frame


def number(pixels: np.ndarray) -> int:
    """The number that a frame shows."""
    bars = pixels[3 * HEIGHT // 4, BAR // 2 :: BAR, 0] > 128
    return sum(int(bit) << place for place, bit in enumerate(bars))


def shown(folder: Path) -> dict[str, int]:
    """Names of image files below a folder, with the number that each shows."""
    files = sorted(folder.rglob("*.jpg"))
    return {str(f.relative_to(folder)): number(np.asarray(Image.open(f))) for f in files}


def write_clip(
    path: Path,
    count: int,
    fps: int = 10,
    milliseconds: Sequence[int] | None = None,
    codec: str = "libx264",
    rotation: int = 0,
    matrix: Sequence[int] | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    gop: int = 12,
    first: int = 0,
) -> Path:
    """Write frames first, first + 1, … at a rate or at stated times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            stream.set_display_matrix([number << 16 for number in matrix])
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(painted(first + index), format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[index], Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def write_sound(path: Path) -> Path:
    """Write a file that has sound only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path
