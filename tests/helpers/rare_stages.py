"""A workspace of what few workspaces have: frames of videos, evaluation squares, trainings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clip_files import write_clip
from explored_workspace import compute, indexed
from PIL import Image

from stego_core.paper.published_protocol import BENCHMARKS
from tasks.engine.stage import Stage
from tasks.features import backbones
from tasks.options import ComputeOptions, CorpusOptions, PicieOptions, PretrainOptions
from tasks.paper import stage as prepare
from tasks.paper.datasets import DataSet
from tasks.picie import picie_models
from tasks.picie import stage as picie
from tasks.pretrain import collapse
from tasks.pretrain import stage as pretrain
from tasks.video import stage as frames
from tasks.workspace.workspace import Workspace

LOOP = ComputeOptions(executor="loop", device="cpu")
PICO = "vit_pico_patch8_conv_64"
PRETRAIN = PretrainOptions(
    backbone=PICO, steps=4, batch=3, global_size=32, local_size=16, local_views=1, prototypes=16,
    hidden=16, bottleneck=8, image_side=48, threads=1, checkpoint_steps=2,
)  # fmt: skip
PICIE = PicieOptions(
    weights="untrained", epochs=1, size=64, batch=3, cluster_batch=2, start_batches=2, threads=1,
    checkpoint_steps=2,
)  # fmt: skip
IMAGES = 6


def finished(folder: Path, make_corpus: Callable[..., Path]) -> Workspace:
    """A workspace `ws` in a folder, with the images beside it."""
    workspace = Workspace.create(str(folder / "ws"))
    indexed(workspace, "dump", make_corpus(folder / "a", IMAGES, size=(64, 80)), labelled=True)
    _cut(workspace, folder / "clips")
    squares(workspace, folder / "data")
    _train(workspace)
    return workspace


def _cut(workspace: Workspace, clips: Path) -> None:
    for name in ("one", "two"):
        write_clip(clips / f"{name}.mp4", 30)
    stage = frames.plan(workspace, "clips", CorpusOptions(images=str(clips), fps=2.0))
    compute(stage, frames.finish)


def squares(workspace: Workspace, folder: Path) -> None:
    """Squares `val` of three images of Cityscapes in small, which are in a folder, or then are."""
    draw = np.random.default_rng(0)
    for number in range(3):
        name = f"ulm/ulm_{number:06d}_000019"
        for kind, ending, array in (
            ("leftImg8bit", "leftImg8bit", draw.integers(0, 256, (25, 39, 3), np.uint8)),
            ("gtFine", "gtFine_labelIds", draw.integers(5, 34, (25, 39), np.uint8)),
        ):
            path = folder / f"{kind}/val/{name}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    data = DataSet.at(str(folder), BENCHMARKS["cityscapes27"])
    cut = prepare.Cut(16, False, "nearest")
    compute(prepare.plan(workspace, "val", data, "val", cut, None), prepare.finish)


def _train(workspace: Workspace) -> None:
    network = picie_models.fetch_network(workspace, PICIE)
    compute(picie.plan(workspace, ["dump"], network, PICIE, 3, LOOP), Stage.finish_single)
    start = backbones.fetch_backbone(workspace, PICO, backbones.UNTRAINED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collapse, "LEAST_INFORMATION", 0)  # so short a training has learnt nothing
        compute(pretrain.plan(workspace, "dump", start, PRETRAIN, LOOP), Stage.finish_single)
