"""A video from file to masks: one command, at one frame a second, the CRF included.

    python benchmarks/video.py [--size 640x360] [--seconds 180] [--workspace WS]

A clip of 25 frames a second that moves over generated streets is backfilled into a workspace:
frames are cut, read by the backbone at two scales, refined by the CRF at full size, and stored with
their overlays. The command is timed as a whole, its start included; the hour is what the frames
between take at the rate of the masks' stage. Without --workspace one is made first, with random
weights of the backbone, which change no work; that takes no part in the time.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import harness
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.demo.scenes import scene, scene_generator

RATE, STREETS = 25, 6
GOAL_MINUTES = 30.0
"""An hour of video on two cores with bfloat16."""


def frames(seconds: int, width: int, height: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Windows that move over one street after another, half a frame in ten seconds."""
    streets = [
        np.asarray(
            Image.fromarray(scene(scene_generator(seed, number))[0]).resize(
                (width * 3 // 2, height * 3 // 2), Image.Resampling.BICUBIC
            )
        )
        for number in range(STREETS)
    ]
    for moment in range(seconds * RATE):
        street, phase = streets[moment // (10 * RATE) % STREETS], moment % (10 * RATE)
        left, top = (phase * side // 2 // (10 * RATE) for side in (width, height))
        yield street[top : top + height, left : left + width]


def write_clip(path: Path, pictures: Iterator[NDArray[np.uint8]], width: int, height: int) -> None:
    """An MP4 of the pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def stego(*arguments: str) -> float:
    """Wall time of a command of ours."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "flows", *arguments], check=True)
    return time.perf_counter() - begun


def main() -> None:
    """Make what is missing, measure, print, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="640x360", help="of the clip, WIDTHxHEIGHT")
    parser.add_argument("--seconds", type=int, default=180, help="of the clip")
    parser.add_argument("--backbone", default="vit_small_patch16_224", help="timm's name")
    parser.add_argument("--workspace", type=Path, help="with a finished run; default: a new one")
    parser.add_argument("--seed", type=int, default=0, help="of the generated streets")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    chosen = parser.parse_args()
    width, height = map(int, chosen.size.split("x"))
    before = harness.machine()
    with harness.scratch(chosen) as folder:
        workspace = chosen.workspace or new_workspace(folder, chosen)
        clip = folder / "clips" / "drive.mp4"
        clip.parent.mkdir()
        write_clip(clip, frames(chosen.seconds, width, height, chosen.seed), width, height)
        dump = f"drive-{chosen.size}"
        given = ["--images", str(clip), "--dump", dump, "--workspace", str(workspace)]
        whole = stego("backfill", *given, "--fps", "1")
        current = json.loads((workspace / "current.json").read_text())["keys"]["masks"]
        spent = masks_seconds(workspace / "masks" / current / dump)
    hour = 3600 / chosen.seconds * spent / 60
    sys.stdout.write(
        f"{chosen.seconds} frames of {chosen.size}: {whole:.1f} s in all, {spent:.1f} s of masks; "
        f"an hour takes {hour + (whole - spent) / 60:.1f} minutes (goal: {GOAL_MINUTES:.0f})\n"
    )
    document = {
        "row": "video",
        "frames": chosen.seconds,
        "size": chosen.size,
        "backbone": chosen.backbone,
        "seconds": {"whole": round(whole, 1), "masks": round(spent, 1)},
        "minutes_of_an_hour": round(hour + (whole - spent) / 60, 1),
        "machine": before,
        "versions": harness.versions_of(("torch", "timm", "av")),
    }
    harness.write("video", document)


def new_workspace(folder: Path, chosen: argparse.Namespace) -> Path:
    """A run over a few streets."""
    harness.write_scenes(folder / "streets", 32, chosen.seed)
    stego(
        "run", "--images", str(folder / "streets" / "images"), "--workspace", str(folder / "ws"),
        "--dump", "streets", "--backbone", chosen.backbone, "--weights", "untrained",
        "--steps", "20", "--classes", "16",
    )  # fmt: skip
    return folder / "ws"


def masks_seconds(folder: Path) -> float:
    """Wall time of the stage, from its manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return float(manifest["seconds"]["wall"])


if __name__ == "__main__":
    main()
