"""Stage pretrain: a backbone of one's own by self-distillation on a dump's images."""

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch

from stego_core.backbone.vit import weight_bytes
from stego_core.errors import CapacityError
from stego_core.pretrain import distillation
from stego_core.pretrain.dino import DinoRecipe, Schedule
from stego_core.pretrain.views import ViewRecipe
from tasks.corpus.image_cache import ImageCache
from tasks.corpus.index import IndexReader
from tasks.corpus.scene_groups import SceneGroups
from tasks.engine import checkpoints, machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.engine.training_loop import TrainingLoop
from tasks.features.backbones import BackboneSpec
from tasks.options import ComputeOptions, PretrainOptions
from tasks.pretrain.collapse import WINDOW_STEPS, CollapseDetector
from tasks.pretrain.training_run import DinoTraining, resumed
from tasks.workspace import keys, layout, tables
from tasks.workspace.layout import WEIGHTS_FILE
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
"""Raised whenever the same options would give another backbone."""
TITLE = "pretrain"
"""What the progress calls the stage."""
REPORT_STEPS = 10
"""Progress is reported after each so many steps."""


@dataclass(frozen=True)
class PretrainWork(GpuWork):
    """One training run, the only shard of its stage."""

    index: IndexReader
    spec: BackboneSpec
    options: PretrainOptions
    folder: Folder
    device: str

    def shard(self, shard: int) -> Record:
        """Train to the end from the newest checkpoint, then store the teacher's backbone.

        Raises:
            TrainingError: the loss is not a number any more.
        """
        watch = Stopwatch()
        device = machine.device(self.device)
        recipe = recipe_of(self.options, device)
        scenes = SceneGroups.of_folders(self.index) if self.options.registered else None
        side, memory = self.options.image_side, self.options.image_memory
        images = ImageCache(self.index, side, memory, scenes)
        training = resumed(self.folder, self.spec, recipe, images, self.options, device)
        loop = TrainingLoop(
            self.folder, TITLE, recipe.steps, self.options.checkpoint_steps, REPORT_STEPS
        )
        partners = scenes.partners if scenes else None
        make_batch = partial(distillation.prepare_batch, images, images.count, recipe, partners)
        with machine.threads(self.options.threads), watch("infer"):
            first = training.state.step
            loop.run(first, make_batch, training.train, training.tensors, training.remark)
            record = self._store(shard, training, watch)
        return self.folder.record(record)

    def _store(self, shard: int, training: DinoTraining, watch: Stopwatch) -> Record:
        """Write the teacher's backbone, the curve and the figures; returns the record."""
        storage, path, state = self.folder.storage, self.folder.path, training.state
        checkpoints.write_rows(self.folder, layout.CURVE_FILE, training.curve)
        checkpoints.write_rows(self.folder, layout.QUALITY_FILE, training.figures)
        weights = {
            name: value.cpu().numpy() for name, value in state.teacher.vit.state_dict().items()
        }
        content = tables.write_tensors(storage, f"{path}/{WEIGHTS_FILE}", weights)
        digest = keys.digest(content)
        tail = training.curve[-WINDOW_STEPS:]
        means = {
            name: round(float(np.mean([getattr(row, name) for row in tail])), 4)
            for name in ("loss", "entropy", "information")
        }
        results = {
            "digest": digest,
            **means,
            "collapsed": CollapseDetector(training.recipe).is_collapsed(tail),
            "quality": training.figures[-1]._asdict(),
            "machine": {
                "device": state.image_centre.device.type,
                "precision": training.recipe.precision,
                "threads": torch.get_num_threads(),
            },
        }
        span, invalid = (0, self.options.steps), training.images.invalid
        return Record(shard, span, len(content), digest, watch.seconds, invalid, results)


def recipe_of(options: PretrainOptions, device: str) -> DinoRecipe:
    """The core's recipe for these options, on a device."""
    views = ViewRecipe(
        global_size=options.global_size,
        local_size=options.local_size,
        local_views=options.local_views,
        window=options.span("window"),
        global_scale=options.span("global_scale"),
        local_scale=options.span("local_scale"),
        colour=options.colour,
    )
    computed: dict[str, Any] = {
        "views": views,
        "warmup": round(options.warmup * options.steps),
        "weight_decay": Schedule(*options.span("weight_decay")),
        "temperature": Schedule(*options.span("teacher_temperature")),
        "temperature_steps": round(options.temperature_warmup * options.steps),
        "frozen_steps": round(options.frozen * options.steps),
        "precision": machine.precision(options.precision, device),
    }
    same = {field.name for field in fields(DinoRecipe)} - computed.keys()
    return DinoRecipe(**options.model_dump(include=same), **computed)


def pretrain_key(index: IndexReader, spec: BackboneSpec, options: PretrainOptions) -> str:
    """Key of the backbone trained on this dump from these weights."""
    inputs = {"index": index.manifest["index"], "backbone": spec.digest}
    return keys.key(TITLE, VERSION, options.content(), inputs)


def plan(
    workspace: Workspace,
    dump: str,
    spec: BackboneSpec,
    options: PretrainOptions,
    compute: ComputeOptions,
) -> Stage | None:
    """Plan a training run; None if its backbone is there.

    Raises:
        OptionError: sizes or spans mean nothing.
        CapacityError: the dump has too few images.
        InputError: images that should be registered are not of one size.
    """
    index = IndexReader(workspace, dump)
    options.check(spec.patch)
    if index.manifest["images"] < 2:
        raise CapacityError(
            f"dump {dump} has {index.manifest['images']} images to train on; give 2 or more"
        )
    if options.registered:
        SceneGroups.of_folders(index)  # refuses what is not registered before any step
    folder = workspace.folder(TITLE, pretrain_key(index, spec, options))
    if folder.finished:
        return None
    manifest = {
        "stage": TITLE,
        "version": VERSION,
        "options": options.content().model_dump(mode="json"),
        "inputs": {"dump": dump, "index": index.manifest["index"]},
        "start": spec.document(),
    }
    work = PretrainWork(index, spec, options, folder, compute.device)
    # Student, teacher, gradients and AdamW's two moments; the images.
    memory = 5 * weight_bytes(options.backbone) + options.image_memory * 2**20
    return Stage(folder, TITLE, "steps", options.steps, 1, work, manifest, memory)


def outcome(
    workspace: Workspace, dump: str, spec: BackboneSpec, options: PretrainOptions
) -> dict[str, Any]:
    """The outcome of a finished training: its key, where its weights are, its figures."""
    folder = workspace.folder(TITLE, pretrain_key(IndexReader(workspace, dump), spec, options))
    manifest = folder.manifest()
    figures = ("loss", "entropy", "information", "collapsed", "quality")
    return {
        "key": folder.path.rpartition("/")[2],
        "backbone": spec.name,
        "weights": workspace.storage.full(f"{folder.path}/{WEIGHTS_FILE}"),
        **{name: manifest[name] for name in figures},
    }
