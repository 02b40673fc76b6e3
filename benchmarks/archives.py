"""Images of tar archives beside the same files loose: listing them, indexing them, reading them.

    python benchmarks/archives.py --members 50000 --archives 50

Writes as many small JPEGs as `--members` (of `--distinct` generated scenes, in turn) as files of
one folder and as members of tars, then for each side by turns:

- list: from the folder or the tars to the frozen list of the dump, in the workspace;
- index: every image is read, decoded and described, in one process;
- read: the bytes of every image again, in order, checked against the index.

Both sides must have the same ids and digests.
"""

import argparse
import io
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Headline, Row
from PIL import Image

from flows.demo.scenes import scene, scene_generator
from tasks.corpus import stage as corpus
from tasks.corpus.index import IndexReader
from tasks.engine.prefetch import ahead
from tasks.engine.steps import LoopExecutor
from tasks.options import CorpusOptions
from tasks.workspace.workspace import Workspace

SIZE = (96, 128)
PARTS = ("list", "index", "read")
AHEAD = 4


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=50_000, help="images")
    parser.add_argument("--archives", type=int, default=50, help="tars that they are packed into")
    parser.add_argument("--distinct", type=int, default=200, help="generated scenes")
    parser.add_argument("--repeats", type=int, default=1, help="how often all of it is measured")
    parser.add_argument("--scratch", type=Path, help="where temporary files go")
    return parser.parse_args()


def jpegs(count: int) -> list[bytes]:
    contents = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(scene(scene_generator(0, number), SIZE)[0]).save(buffer, "JPEG")
        contents.append(buffer.getvalue())
    return contents


def write(folder: Path, contents: list[bytes], members: int, archives: int) -> None:
    """The same images loose and in tars."""
    (folder / "loose").mkdir()
    (folder / "tars").mkdir()
    for part, numbers in enumerate(np.array_split(np.arange(members), archives)):
        with tarfile.open(folder / "tars" / f"x-{part:06d}.tar", "w") as archive:
            for number in numbers.tolist():
                name, content = f"{number:08d}.jpg", contents[number % len(contents)]
                (folder / "loose" / name).write_bytes(content)
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    outcome = work()
    return time.perf_counter() - begun, outcome


def side(images: str, folder: Path) -> tuple[dict[str, float], str]:
    """Seconds of each part, and the digest of the index."""
    workspace = Workspace.create(str(folder))
    listing, stage = timed(lambda: corpus.plan(workspace, "d", CorpusOptions(images=images)))
    assert stage is not None
    shards = range(stage.shards)
    indexing, _ = timed(lambda: list(LoopExecutor().map(stage.work.steps(), shards)))
    index = corpus.finish(workspace, stage, 0.0, 1)["index"]
    reader = IndexReader(workspace, "d")

    def read() -> int:
        rows = reader.entries(np.arange(reader.manifest["images"]))
        return sum(len(content) for _, content in ahead(rows, reader.content, AHEAD))

    reading, _ = timed(read)
    return dict(zip(PARTS, (listing, indexing, reading), strict=True)), index


def main() -> None:
    chosen = parsed()
    before = harness.machine()
    rates: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="stego-archives-", dir=chosen.scratch) as name:
        folder = Path(name)
        write(folder, jpegs(chosen.distinct), chosen.members, chosen.archives)
        places = {"loose": str(folder / "loose"), "tars": f"{folder}/tars/x-*.tar"}
        for repeat in range(chosen.repeats):
            digests = set()
            for kind in places if repeat % 2 == 0 else reversed(places):
                seconds, digest = side(places[kind], folder / f"ws-{kind}-{repeat}")
                digests.add(digest)
                for part in PARTS:
                    rates.setdefault((part, kind), []).append(chosen.members / seconds[part])
            if len(digests) != 1:
                sys.exit("error: archives and files gave other indexes; expected the same")
    rows = [Row(part, rates[part, "tars"], rates[part, "loose"], "images/s") for part in PARTS]
    harness.report(
        "archives",
        ("tars", "loose files"),
        rows,
        Headline(rows[2], 0.8, "ids and digests of all images are equal"),
        {"images": f"{chosen.members} JPEGs of {SIZE[0]} × {SIZE[1]}", "tars": chosen.archives},
        before,
    )


if __name__ == "__main__":
    main()
