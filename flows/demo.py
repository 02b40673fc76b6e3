"""The demo: a generated corpus of street scenes, and the pipeline on it."""

import json
from typing import NamedTuple

import numpy as np
from PIL import Image

from stego_core.palette import palette
from stego_core.scenes import SCENE_CLASSES, scene, scene_generator
from tasks import hub, images
from tasks.model import UNTRAINED
from tasks.progress import Progress
from tasks.workspace.storage import Storage

DINO = "vit_small_patch16_224.dino"
SMALL = "vit_tiny_patch16_224"
VOID = 255


class DemoBackbone(NamedTuple):
    """Which backbone the demo can have here, and what to expect of it."""

    name: str
    weights: str | None
    layer: int | None
    note: str


def write_corpus(place: Storage, count: int, seed: int) -> None:
    """Write scenes as `images/*.png`, labels as `labels/*.png`, and `taxonomy.json`."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(SCENE_CLASSES)] = palette(len(SCENE_CLASSES))
    with Progress("scenes", count, "images") as progress:
        for index in range(count):
            name = f"scene-{index:04d}.png"
            if not place.exists(f"labels/{name}"):
                image, labels = scene(scene_generator(seed, index))
                place.write(f"images/{name}", images.encode_png(Image.fromarray(image)))
                place.write(f"labels/{name}", images.encode_mask(labels, colours))
            progress.advance(1)
    taxonomy = {"name": "scenes", "void": VOID, "classes": list(SCENE_CLASSES)}
    place.write("taxonomy.json", json.dumps(taxonomy, indent=1).encode())


def backbone() -> DemoBackbone:
    """DINO where its weights are on this machine or the hub answers at once, else a random ViT."""
    if hub.has(DINO):
        return DemoBackbone(
            DINO,
            None,
            None,
            f"backbone: {DINO}, self-supervised, from the hub. Expect sensible classes.",
        )
    return DemoBackbone(
        SMALL,
        UNTRAINED,
        0,
        f"backbone: {SMALL} with UNTRAINED, seeded weights, because the hub with DINO's weights "
        "cannot be reached. Expect every stage to run, and classes little better than colour and "
        "texture; give real weights with --weights to see what the method can do.",
    )
