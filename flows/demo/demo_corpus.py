"""The demo: a generated corpus of street scenes, and the options of the pipeline on it."""

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from flows.demo.scenes import scene, scene_generator
from flows.demo.street import SCENE_CLASSES
from stego_core.images.palette import palette
from stego_core.labels.void import VOID_BYTE
from tasks.engine.progress import Progress
from tasks.features import hub
from tasks.features.backbones import BUNDLED, BUNDLED_BACKBONE
from tasks.images import image_codecs
from tasks.options import CorpusOptions, FeaturesOptions, HeadOptions, MasksOptions
from tasks.storage.storage import Storage

SIDE = 240
"""Pixels of a scene's short side, in training as in masks."""
STEPS = 300
"""Training steps of the head."""
RENDERINGS = 3
"""Images of each scene that the bundled backbone was trained on."""
NOTE = (
    f"backbone: {BUNDLED_BACKBONE}, bundled, trained by `stego pretrain` on generated scenes "
    "and on nothing else. It knows such scenes; for photographs give --backbone and --weights."
)
DINO = "vit_small_patch16_224.dino"
DINO_NOTE = f"backbone: {DINO}, of timm's weights; --offline takes the small bundled one instead."


class Choice(NamedTuple):
    """The demo's backbone: its name, its weights (None: timm's), and a line about it."""

    backbone: str
    weights: str | None
    note: str


def chosen(offline: bool) -> Choice:
    """DINO where its weights are on this machine or the hub answers at once, else the bundled."""
    if not offline and hub.available(DINO):
        return Choice(DINO, None, DINO_NOTE)
    return Choice(BUNDLED_BACKBONE, BUNDLED, NOTE)


def sections(scenes: Storage, choice: Choice) -> dict[str, Any]:
    """Options of the demo's run: the scenes at their own size, the chosen backbone."""
    return {
        "corpus": CorpusOptions(
            images=scenes.full("images"),
            labels=scenes.full("labels"),
            taxonomy=scenes.full("taxonomy.json"),
        ),
        "features": FeaturesOptions(
            backbone=choice.backbone, weights=choice.weights, crops="whole", crop_size=SIDE
        ),
        "head": HeadOptions(steps=STEPS),
        "masks": MasksOptions(resolution=SIDE),
    }


def write_corpus(folder: Storage, count: int, seed: int) -> None:
    """Write scenes as `images/*.png`, labels as `labels/*.png`, and `taxonomy.json`."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(SCENE_CLASSES)] = palette(len(SCENE_CLASSES))
    with Progress("scenes", count, "images") as progress:
        for index in range(count):
            name = f"scene-{index:04d}.png"
            if not folder.exists(f"labels/{name}"):
                image, labels = scene(scene_generator(seed, index))
                folder.write(f"images/{name}", image_codecs.encode_png(Image.fromarray(image)))
                folder.write(f"labels/{name}", image_codecs.encode_mask(labels, colours))
            progress.advance(1)
    taxonomy = {"name": "scenes", "void": VOID_BYTE, "classes": list(SCENE_CLASSES)}
    folder.write("taxonomy.json", json.dumps(taxonomy, indent=1).encode())


def write_renderings(folder: Storage, count: int, seed: int) -> None:
    """Write `RENDERINGS` images of each scene, as `images/scene-0000/0.png`, …"""
    with Progress("scenes", count, "scenes") as progress:
        for index, rendering in itertools.product(range(count), range(RENDERINGS)):
            name = f"images/scene-{index:04d}/{rendering}.png"
            if not folder.exists(name):
                image, _ = scene(scene_generator(seed, index), rendering=rendering)
                folder.write(name, image_codecs.encode_png(Image.fromarray(image)))
            progress.advance(int(rendering + 1 == RENDERINGS))


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m flows.demo.demo_corpus PLACE COUNT SEED` writes scenes to pretrain on."""
    place, count, seed = sys.argv[1:] if arguments is None else arguments
    write_renderings(Storage.at(place), int(count), int(seed))


if __name__ == "__main__":
    main()
