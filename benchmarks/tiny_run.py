"""A whole run and a backfill of many tiny images that lie in tars on a local S3 server.

    python benchmarks/tiny_run.py --count 100000 --later 1000

Images are JPEGs of 32 × 32: noise with a disk and a bar, each drawn from its own seed. `stego run`
reads the tars by ranges, and writes the workspace on the same server (OpenStack Swift, started for
this run on a free port), with the bundled backbone, a few steps and no CRF: what is left is what
every image costs however small it is. Then `stego backfill` labels `--later` images more. Told are
seconds of both commands and of each stage, and the most memory of the run's own process.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
import memory
import numpy as np
from object_store import served
from PIL import Image

from tasks.storage.storage import Storage

SIDE = 32
MIB = 2**20
OPTIONS = (
    "--backbone", "vit_pico_patch8_conv_64", "--weights", "bundled", "--crops", "whole",
    "--crop-size", "32", "--max-training-images", "2000", "--steps", "50", "--classes", "4",
    "--restarts", "1", "--neighbors", "7",
)  # fmt: skip
MASKS = ("--resolution", "32", "--crf-iterations", "0", "--no-overlays")


def tiny(number: int) -> bytes:
    """An image: noise, a disk and a bar."""
    draw = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = draw.integers(0, 60, (SIDE, SIDE, 3))
    centre, radius, bar = draw.integers(6, SIDE - 6, 2), draw.integers(3, 8), draw.integers(SIDE)
    pixels[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2] += [150, 30, 30]
    pixels[:, max(bar - 2, 0) : bar + 2] += [20, 20, 150]
    content = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(content, "JPEG")
    return content.getvalue()


def write_tars(storage: Storage, first: int, count: int, of_each: int) -> None:
    """The images `first`, … in tars x-000000.tar, …."""
    for part, begin in enumerate(range(first, first + count, of_each)):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for number in range(begin, min(begin + of_each, first + count)):
                image = tiny(number)
                info = tarfile.TarInfo(f"{number:08d}.jpg")
                info.size = len(image)
                archive.addfile(info, io.BytesIO(image))
        storage.write(f"x-{part:06d}.tar", content.getvalue())


def timed(arguments: Sequence[str]) -> dict[str, float]:
    """Seconds of a command, and the most MiB of its own process and of it with its workers."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "flows", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with memory.watched(process.pid) as peak:
        code = process.wait()
    if code:
        sys.exit(f"error: {' '.join(command)} ended with {code}; expected 0")
    seconds = round(time.perf_counter() - begun, 1)
    return {"seconds": seconds, "own_mib": peak.own // MIB, "total_mib": peak.total // MIB}


def stages(workspace: Storage) -> dict[str, Any]:
    """Rows and seconds of every finished folder, by its path."""
    found = {}
    for file in workspace.each_file():
        manifest = (file.path.endswith("/manifest.json") and workspace.document(file.path)) or {}
        if "rows" in manifest:
            wall = manifest["seconds"]["wall"]
            found[file.path.removesuffix("/manifest.json")] = [manifest["rows"], wall]
    return found


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--count", type=int, default=100_000, help="images of the run")
    made.add_argument("--later", type=int, default=1000, help="images of the backfill")
    made.add_argument("--of-each", type=int, default=1000, help="images of a tar")
    made.add_argument("--workers", type=int, default=2, help="worker processes")
    made.add_argument("--scratch", type=Path, help="where temporary files go")
    chosen = made.parse_args()
    before = harness.machine()
    with harness.scratch(chosen) as folder, served(folder / "s3") as bucket:
        write_tars(Storage(f"{bucket}/first"), 0, chosen.count, chosen.of_each)
        write_tars(Storage(f"{bucket}/later"), chosen.count, chosen.later, chosen.of_each)
        common = ["--workspace", f"{bucket}/ws", "--workers", str(chosen.workers)]
        found: dict[str, Any] = {}
        for name, command in (("first", ("run", *OPTIONS, *MASKS)), ("later", ("backfill",))):
            images = ["--images", f"{bucket}/{name}/x-*.tar", "--dump", name]
            found[name] = timed([*command, *images, *common])
            print(name, json.dumps(found[name]), flush=True)
        found["stages"] = stages(Storage(f"{bucket}/ws"))
    for path, (rows, seconds) in found["stages"].items():
        print(f"{path:<50} {rows:>9,} {seconds:>9.1f} s  {rows / max(seconds, 1e-3):>9.0f} /s")
    document = {"count": chosen.count, "later": chosen.later, "found": found, "machine": before}
    harness.write("tiny_run", document)


if __name__ == "__main__":
    main()
