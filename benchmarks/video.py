"""Video: what smoothing does to flicker and scores, and the minutes that an hour of it takes.

    python benchmarks/video.py --workspace WS --images frames/ --labels labels/ --taxonomy t.json

The workspace holds a trained head and clusters. `--images` are consecutive frames, numbered, with
labels. Both parts run the pipeline's own stages on local Dask workers of one thread each; Prefect
takes no part.

Smoothing: masks of the labelled frames, CRF and all, with each number of `--smooth-frames`; flicker
as the masks' manifest has it, accuracy and mIoU with one matching of clusters to classes for each.

Speed: a synthetic clip, the same frames forth and back at 30 a second, H.264, `--seconds` long. The
stages frames, corpus and masks, with overlays and smoothing over two neighbours; the time between
their beginning and end, scaled to an hour of such video at one frame per second, and the processor
time: where other processes run as well, that divided by the workers is what an idle machine takes.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import harness
import masks as masks_bench
import numpy as np
import psutil
from PIL import Image

from stego_core import metrics
from tasks import compute, corpus, formats, frames, images, masks
from tasks.index import IndexReader
from tasks.options import ComputeOptions, CorpusOptions, MasksOptions
from tasks.stage import Finish, Stage
from tasks.workspace.workspace import Workspace

SOURCE_FPS, GOAL_MINUTES = 30, 60
PACKAGES = ("av", "torch", "distributed")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", required=True, help="with a trained head and clusters")
    parser.add_argument("--images", type=Path, required=True, help="consecutive frames")
    parser.add_argument("--labels", help="their labels; without: speed only")
    parser.add_argument("--taxonomy", help="of the labels")
    parser.add_argument("--reach", default="0,1,2,3", help="values of --smooth-frames")
    parser.add_argument("--seconds", type=int, default=180, help="length of the clip; 0: none")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def computed(stage: Stage | None, finish: Finish, options: ComputeOptions) -> dict[str, Any]:
    """Compute a stage; returns its manifest."""
    assert stage is not None
    with compute.executor(options) as shards:
        begun = time.perf_counter()
        list(shards.map(stage.work.steps(), stage.folder.missing(stage.shards), stage.title))
        return finish(stage, time.perf_counter() - begun, stage.shards)


def indexed(place: Workspace, dump: str, options: CorpusOptions) -> dict[str, Any]:
    def finish(stage: Stage, seconds: float, shards: int) -> dict[str, Any]:
        return corpus.finish(place, stage, seconds, shards)

    loop = ComputeOptions(executor="loop")
    return computed(corpus.plan(place, dump, options), finish, loop)


def quality(place: Workspace, clusters: str, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Flicker and scores for each number of neighbours."""
    options = CorpusOptions(
        images=str(chosen.images), labels=chosen.labels, taxonomy=chosen.taxonomy
    )
    indexed(place, "labelled", options)
    run = ComputeOptions(workers=chosen.workers)
    found = []
    with compute.executor(run):
        for reach in map(int, chosen.reach.split(",")):
            asked = MasksOptions(smooth_frames=reach, overlays=False)
            stage = masks.plan(place, "labelled", clusters, asked, "cpu")
            assert stage is not None
            manifest = computed(stage, masks.finish, run)
            counts = confusion(place, stage, len(manifest["pixels"]))
            scored = metrics.scores(counts, metrics.match(counts))
            found.append(
                {
                    "smooth_frames": reach,
                    "flicker": round(100 * manifest["flicker"], 2),
                    "pairs": manifest["flicker_pairs"],
                    "accuracy": round(scored.accuracy, 2),
                    "miou": round(scored.miou, 2),
                }
            )
            print(found[-1], flush=True)
    return found


def confusion(place: Workspace, stage: Stage, clusters: int) -> Any:
    """Pixels by class and cluster over all labelled frames."""
    index = IndexReader(place, "labelled")
    total = metrics.Confusion.create(len(index.taxonomy().classes), clusters)
    for entry in index.entries(np.arange(index.manifest["images"])):
        labels = index.labels(entry)
        if labels is not None:
            content = place.storage.read(f"{stage.folder.path}/{entry['image_id']}.png")
            total.add(labels, images.decode_mask(content))
    return total.counts


def forth_and_back(files: list[Path]) -> Iterator[Path]:
    return itertools.cycle([*files, *files[-2:0:-1]])


def write_clip(files: list[Path], path: Path, seconds: int) -> None:
    """The frames forth and back at SOURCE_FPS."""
    width, height = Image.open(files[0]).size
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=SOURCE_FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.options = {"preset": "veryfast"}
        for file in itertools.islice(forth_and_back(files), seconds * SOURCE_FPS):
            pixels = np.asarray(Image.open(file).convert("RGB"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def speed(
    place: Workspace, clusters: str, chosen: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Seconds of each stage on the clip, and minutes for an hour of it."""
    files = sorted(path for path in chosen.images.iterdir() if path.suffix in formats.ENDINGS)
    clip = folder / "clip.mp4"
    write_clip(files, clip, chosen.seconds)
    options = CorpusOptions(images=str(clip))
    run = ComputeOptions(workers=chosen.workers)
    with compute.executor(run):
        # One image is labelled before the clock starts: workers have their libraries by then.
        indexed(place, "first", CorpusOptions(images=str(harness.copied(files[:1], folder / "1"))))
        asked = MasksOptions(smooth_frames=2)
        computed(masks.plan(place, "first", clusters, asked, "cpu"), masks.finish, run)
        begun, worked = time.perf_counter(), processor_seconds()
        cut = computed(frames.plan(place, "clip", options), frames.finish, run)
        indexed(place, "clip", options)
        between = time.perf_counter()
        computed(masks.plan(place, "clip", clusters, asked, "cpu"), masks.finish, run)
        ended, worked = time.perf_counter(), processor_seconds() - worked
    return {
        "clip_seconds": chosen.seconds,
        "frames": cut["frames"],
        "megabytes": round(clip.stat().st_size / 1e6, 1),
        "frames_and_corpus_seconds": round(between - begun, 1),
        "masks_seconds": round(ended - between, 1),
        "minutes_per_hour": round((ended - begun) / chosen.seconds * 60, 1),
        "processor_minutes_per_hour": round(worked / chosen.seconds * 60, 1),
        "goal_minutes": GOAL_MINUTES,
    }


def processor_seconds() -> float:
    """Of this process and its workers: what another process takes away does not count."""
    own = psutil.Process()
    times = [each.cpu_times() for each in (own, *own.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def main() -> None:
    chosen = arguments()
    before = harness.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clusters = masks_bench.trimmed(chosen.workspace, str(folder / "ws"))
        place = Workspace.open(str(folder / "ws"))
        timed = speed(place, clusters, chosen, folder) if chosen.seconds else None
        print(timed, flush=True)
        found = quality(place, clusters, chosen) if chosen.labels else []
    document = {
        "row": "video",
        "speed": timed,
        "smoothing": found,
        "images": str(chosen.images.name),
        "machine": before,
        "load_after": harness.machine()["load"],
        "versions": harness.versions_of(PACKAGES),
    }
    harness.write("video", document)


if __name__ == "__main__":
    main()
