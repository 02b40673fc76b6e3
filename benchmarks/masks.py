"""Masks end to end, from image file to PNG: the pipeline's stages beside the published demo's way.

    python benchmarks/masks.py --workspace WS --images DIR

Both sides read the same files, the central squares of the photographs at 320×320, JPEG of quality
95, and label every pixel of them, with the workspace's backbone, head and clusters. No overlays.

Reference, the published demo's way: one process, one image after another, torch on all threads,
float32. Features of the image and, in a second pass, of its mirrored twin; the head; the mean;
bilinear upsampling; log softmax over clusters; the library's CRF; a palette PNG.

Ours: the stages corpus (the index) and masks, as they are, on local Dask workers of one thread
each; Prefect takes no part. Both sides have labelled an image before the clock starts.
"""

import argparse
import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import crf
import harness
import numpy as np
import pairs
import plain
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from stego_core.images import geometry
from stego_core.images.palette import palette
from stego_core.masks.segmenter import Segmenter

ROW, UNIT = "masks", "megapixels/s"
WORK = "masks of photographs' central squares of 320×320 pixels, from image file to PNG"
PACKAGES = ("pydensecrf2", "distributed")
GOAL = 3.0
SIDE = crf.SIDE
Label = Callable[[str], NDArray[np.str_]]
MADE = {
    "backbones": ("weights.safetensors", "manifest.json"),
    "heads": ("head.safetensors", "manifest.json"),
    "clusters": ("centroids.safetensors", "manifest.json"),
}
"""What masks need of a workspace."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", required=True, help="with a trained head and clusters")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--limit", type=int, default=128, help="images taken")


def inputs(chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    chosen.scenes = 0
    photographs = harness.found_images(chosen, folder)
    squares = folder / "squares"
    squares.mkdir()
    for number, file in enumerate(photographs):
        pixels = geometry.square(np.asarray(Image.open(file).convert("RGB")), SIDE)
        Image.fromarray(pixels).save(squares / f"{number:05d}.jpg", quality=95)
    clusters = trimmed(chosen.workspace, str(folder / "workspace"))
    spec = segmenter_of(str(folder / "workspace"), clusters, squares_options())
    geometry.require_patches("the squares' side", SIDE, spec.backbone.patch)
    harness.copied(photographs, folder / "photographs")
    harness.copied([squares / "00000.jpg"], folder / "first")
    return {
        "folder": str(folder),
        "clusters": clusters,
        "images": len(photographs),
        "classes": len(spec.centroids()),
        "backbone": spec.backbone.name,
        "layer": spec.backbone.layer,
        "precision of ours": spec.backbone.precision,
    }


def trimmed(source: str, target: str) -> str:
    """Copy what masks need into a new workspace; returns the key of the current clusters."""
    from tasks.workspace.workspace import Workspace

    given, made = Workspace.open(source), Workspace.create(target)
    clusters = given.last_run()["keys"]["clusters"]
    manifest = given.folder("clusters", clusters).manifest()
    names = (manifest["backbone"]["digest"], manifest["inputs"]["head"], clusters)
    for (stage, files), name in zip(MADE.items(), names, strict=True):
        for file in files:
            path = f"{stage}/{name}/{file}"
            made.storage.write(path, given.storage.read(path))
    return str(clusters)


def segmenter_of(place: str, clusters: str, options: Any) -> Any:
    """What the stage builds its segmenter from."""
    from tasks.masks.segmenter import segmenter_spec
    from tasks.workspace.workspace import Workspace

    return segmenter_spec(Workspace.open(place), clusters, options)


def squares_options() -> Any:
    """Squares are read as they are, as the published demo reads them, which writes no overlays."""
    from tasks.options import MasksOptions

    return MasksOptions(resolution=SIDE, views="mirror", overlays=False)


def figure(inputs: dict[str, Any], seconds: float) -> float:
    return float(inputs["images"] * SIDE**2 / seconds / 1e6)


def ours(inputs: dict[str, Any]) -> pairs.Work:
    stack = ExitStack()
    atexit.register(stack.close)
    label = stack.enter_context(prepared(inputs, squares_options()))
    return lambda: {"masks": label("squares")}


@contextmanager
def prepared(inputs: dict[str, Any], options: Any) -> Iterator[Label]:
    """Warm workers and a new workspace: a call that indexes and labels a folder of images.

    It returns the paths of the masks, in order of the images' names.
    """
    from flows.runs import stages
    from tasks.engine import compute
    from tasks.options import ComputeOptions, CorpusOptions
    from tasks.workspace.workspace import Workspace

    os.environ.update(plain.worker_environment())
    run = ComputeOptions(workers=inputs["threads"], device="cpu")
    place = tempfile.mkdtemp(dir=inputs["folder"], prefix="run-")
    shutil.copytree(f"{inputs['folder']}/workspace", place, dirs_exist_ok=True)

    workspace = Workspace.open(place)

    def label(name: str) -> NDArray[np.str_]:
        stages.corpus_flow(workspace, name, CorpusOptions(images=f"{inputs['folder']}/{name}"))
        key = stages.masks_flow(workspace, name, inputs["clusters"], options, run)
        return np.array(sorted(map(str, Path(place, "masks", key, name).glob("*.png"))))

    with compute.executor(run) as executor, plain.without_prefect(plain.run_on(executor)):
        spec = segmenter_of(place, inputs["clusters"], options)
        executor.client.run(warm_up, spec, f"{inputs['folder']}/squares/00000.jpg")
        label("first")  # this process plans, and imports what it needs for that
        yield label


def warm_up(spec: Any, file: str) -> None:
    """Import what shards need, build the segmenter and label one image; for every worker."""
    from tasks.engine import machine

    plain.import_work()
    with machine.one_thread():
        spec.build("cpu")(np.asarray(Image.open(file)))


@torch.inference_mode()
def reference(inputs: dict[str, Any]) -> pairs.Work:
    place = f"{inputs['folder']}/workspace"
    built = segmenter_of(place, inputs["clusters"], squares_options()).build("cpu")
    segmenter = replace(built, backbone=replace(built.backbone, precision="float32"))
    files = sorted(Path(inputs["folder"], "squares").iterdir())
    target = Path(tempfile.mkdtemp(dir=inputs["folder"], prefix="reference-"))
    colours = palette(inputs["classes"]).tobytes()

    @torch.inference_mode()
    def call() -> pairs.Arrays:
        return {"masks": np.array([labelled(file) for file in files])}

    def labelled(file: Path) -> str:
        pixels = geometry.square(np.array(Image.open(file).convert("RGB")), SIDE)
        mask = Image.fromarray(crf.their_mask((their_scores(segmenter, pixels), pixels)), "L")
        mask.putpalette(colours)
        mask.save(target / f"{file.stem}.png")
        return str(target / f"{file.stem}.png")

    labelled(files[0])
    return call


def their_scores(segmenter: Segmenter, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Log probabilities (K, H, W) of every pixel, as the published code comes to them."""
    twin = their_codes(segmenter, pixels[:, ::-1]).flip(dims=[3])
    codes = (their_codes(segmenter, pixels) + twin) / 2
    full = F.interpolate(codes, pixels.shape[:2], mode="bilinear", align_corners=False)
    centroids = torch.from_numpy(segmenter.centroids)
    cosine = torch.einsum("bdhw,kd->bkhw", F.normalize(full, dim=1), centroids)
    return torch.log_softmax(segmenter.crf.sharpness * cosine, dim=1)[0].numpy()


def their_codes(segmenter: Segmenter, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Codes (1, D, h, w) of one image (H, W, 3)."""
    features = torch.from_numpy(segmenter.backbone.features(pixels[None]))
    codes: torch.Tensor = segmenter.head(features)
    return codes.permute(0, 3, 1, 2)


def equal(inputs: dict[str, Any], ours: pairs.Arrays, reference: pairs.Arrays) -> str:
    files = zip(ours["masks"], reference["masks"], strict=True)
    shares = [
        float((np.asarray(Image.open(a)) == np.asarray(Image.open(b))).mean()) for a, b in files
    ]
    return (
        f"{100 * np.mean(shares):.4f} % of the pixels get the same class; of the image where "
        f"fewest do {100 * min(shares):.4f} %"
    )


def more(inputs: dict[str, Any]) -> dict[str, Any]:
    """Ours on the whole photographs, at their full size and with the options that people get."""
    from tasks.options import MasksOptions

    options = MasksOptions()
    with prepared(inputs, options) as label:
        begun = time.perf_counter()
        masks = label("photographs")
        seconds = time.perf_counter() - begun
    pixels = sum(int(np.prod(Image.open(mask).size)) for mask in masks)
    return {
        "whole photographs": {
            "images": len(masks),
            "resolution": options.resolution,
            "overlays": options.overlays,
            "seconds": round(seconds, 2),
            "megapixels": round(pixels / 1e6, 2),
            UNIT: round(pixels / seconds / 1e6, 4),
        }
    }


if __name__ == "__main__":
    pairs.main(sys.modules["__main__"])
