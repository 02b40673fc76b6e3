"""Stage pretrain: a backbone of one's own by self-distillation on a dump's images."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from stego_core import distillation
from stego_core.backbone import bare_model, load_weights, weight_bytes
from stego_core.dino import DinoRecipe, Span
from stego_core.distillation import Curve, DinoState
from stego_core.errors import CapacityError, TrainingError
from stego_core.quality import Quality, quality
from stego_core.views import ViewRecipe
from tasks import checkpoints, machine
from tasks.collapse import ALARM_STEPS, Alarm
from tasks.decoded import ImageCache
from tasks.index import IndexReader
from tasks.model import BackboneSpec
from tasks.options import ComputeOptions, PretrainOptions
from tasks.prefetch import ahead
from tasks.progress import Progress
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import keys, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import WEIGHTS_FILE, Workspace

VERSION = 1
TITLE = "pretrain"
CHECKPOINTS_KEPT = 2
"""The newest one, and one more should that be torn."""
BATCHES_AHEAD = 2
QUALITY_IMAGES = 64
"""Images that the label-free figures are taken on, the same ones every time."""
REPORT_STEPS = 10
CURVE_FILE, QUALITY_FILE = "curve.parquet", "quality.parquet"


class Figures(NamedTuple):
    """Label-free quality of the teacher's features after a number of steps."""

    step: int
    agreement: float
    rank: float


@dataclass(frozen=True)
class PretrainWork:
    """One training run, the only shard of its stage."""

    index: IndexReader
    spec: BackboneSpec
    options: PretrainOptions
    folder: Folder
    device: str

    def steps(self) -> Sequence[Step]:
        """One step, on a GPU where there is one."""
        return [Step(self.train, gpu=True)]

    def train(self, shard: int) -> Record:
        """Train to the end from the newest checkpoint, then store the teacher's backbone.

        Raises:
            TrainingError: the loss is not a number any more.
        """
        watch = Stopwatch()
        device = machine.device(self.device)
        recipe = recipe_of(self.options, device)
        images = ImageCache(self.index, self.options.image_side, self.options.image_memory)
        state, curve, figures = self._resumed(recipe, device)
        with machine.threads(self.options.threads), watch("infer"):
            for row in self._trained(state, recipe, images, figures):
                curve.append(row)
                if state.step % self.options.checkpoint_steps == 0 and state.step < recipe.steps:
                    self._save(state, curve, figures)
            record = self._store(shard, state, recipe, curve, figures, images, watch)
        self.folder.record(record)
        return record

    def _trained(
        self, state: DinoState, recipe: DinoRecipe, images: ImageCache, figures: list[Figures]
    ) -> Iterator[Curve]:
        """The remaining steps' rows, while figures, progress and alarms are seen to."""
        progress = Progress(TITLE, recipe.steps, "steps", state.step)
        reported, alarm = state.step, Alarm(recipe)
        remaining = range(state.step, recipe.steps)
        draw = partial(distillation.prepared, images, images.count, recipe)
        drawn = ahead(remaining, draw, BATCHES_AHEAD)
        for row in distillation.train(state, recipe, (batch for _, batch in drawn)):
            judged = state.step % self.options.quality_steps == 0 or state.step == recipe.steps
            if not (math.isfinite(row.loss) and math.isfinite(row.gradient)):
                raise TrainingError(
                    f"training went astray at step {row.step} (loss {row.loss:.4g}, gradient "
                    f"{row.gradient:.4g}); run it with a lower --learning-rate"
                )
            alarm.hear(row)
            if judged:
                figures.append(Figures(state.step, *self._quality(state, recipe, images)))
            if state.step % REPORT_STEPS == 0 or state.step == recipe.steps:
                progress.advance(state.step - reported, _note(row, figures, alarm))
                reported = state.step
            yield row

    def _quality(self, state: DinoState, recipe: DinoRecipe, images: ImageCache) -> Quality:
        """How good the teacher's features are, on the same images and views every time."""
        rows = np.random.default_rng(recipe.seed).permutation(images.count)[:QUALITY_IMAGES]
        state.teacher.eval()
        with torch.inference_mode():
            return quality(
                lambda views: state.teacher.tokens(views.to(state.image_centre.device)),
                images(np.sort(rows).astype(np.int64)),
                recipe.views,
                recipe.seed,
            )

    def _store(
        self,
        shard: int,
        state: DinoState,
        recipe: DinoRecipe,
        curve: list[Curve],
        figures: list[Figures],
        images: ImageCache,
        watch: Stopwatch,
    ) -> Record:
        """Write the teacher's backbone, the curve and the figures; returns the record."""
        storage, path = self.folder.storage, self.folder.path
        checkpoints.write_rows(self.folder, CURVE_FILE, curve)
        checkpoints.write_rows(self.folder, QUALITY_FILE, figures)
        weights = {
            name: value.cpu().numpy() for name, value in state.teacher.vit.state_dict().items()
        }
        content = tables.write_tensors(storage, f"{path}/{WEIGHTS_FILE}", weights)
        digest = keys.digest(content)
        tail = curve[-ALARM_STEPS:]
        outcome = {
            "digest": digest,
            "loss": round(float(np.mean([row.loss for row in tail])), 4),
            "entropy": round(float(np.mean([row.entropy for row in tail])), 4),
            "information": round(float(np.mean([row.information for row in tail])), 4),
            "collapsed": Alarm(recipe).of(tail),
            "quality": figures[-1]._asdict(),
            "machine": {
                "device": state.image_centre.device.type,
                "precision": recipe.precision,
                "threads": torch.get_num_threads(),
            },
        }
        span = (0, self.options.steps)
        return Record(
            shard, span, len(content), digest, watch.seconds, images.invalid, results=outcome
        )

    def _save(self, state: DinoState, curve: list[Curve], figures: list[Figures]) -> None:
        """A checkpoint: all that training needs to go on."""
        tensors: dict[str, Any] = {
            **checkpoints.of_module(state.student, "student"),
            **checkpoints.of_module(state.teacher, "teacher"),
            **checkpoints.of_optimiser(state.optimiser),
            "centre.images": state.image_centre,
            "centre.patches": state.patch_centre,
            "curve": np.array(curve, np.float64),
            "quality": np.array(figures, np.float64).reshape(-1, len(Figures._fields)),
        }
        checkpoints.save(self.folder, state.step, tensors, CHECKPOINTS_KEPT)

    def _resumed(
        self, recipe: DinoRecipe, device: str
    ) -> tuple[DinoState, list[Curve], list[Figures]]:
        """The state of the newest readable checkpoint, or of the start."""
        model = bare_model(self.spec.name)
        path = f"backbones/{self.spec.digest}/{WEIGHTS_FILE}"
        stored = tables.read_tensors(self.folder.storage, path)
        load_weights(model, {name: torch.from_numpy(value) for name, value in stored.items()})
        state = distillation.start(model, recipe, device)
        found = checkpoints.newest(self.folder, TITLE)
        if found is None:
            return state, [], []
        state.step, stored = found
        checkpoints.load_module(state.student, "student", stored)
        checkpoints.load_module(state.teacher, "teacher", stored)
        checkpoints.load_optimiser(state.optimiser, stored)
        state.image_centre.copy_(torch.from_numpy(stored["centre.images"]))
        state.patch_centre.copy_(torch.from_numpy(stored["centre.patches"]))
        curve = [Curve(int(row[0]), *map(float, row[1:])) for row in stored["curve"]]
        return (
            state,
            curve,
            [Figures(int(row[0]), *map(float, row[1:])) for row in stored["quality"]],
        )


def _note(row: Curve, figures: list[Figures], alarm: Alarm) -> str:
    """A live remark beside the progress bar."""
    known = f" · agreement {figures[-1].agreement:.2f}" if figures else ""
    collapsed = " · COLLAPSED" if alarm.ringing else ""
    return f"loss {row.loss:.2f} · entropy {row.entropy:.2f}{known}{collapsed}"


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
    return DinoRecipe(
        steps=options.steps,
        batch=options.batch,
        views=views,
        seed=options.seed,
        learning_rate=options.learning_rate,
        warmup=round(options.warmup * options.steps),
        weight_decay=Span(*options.span("weight_decay")),
        momentum=options.momentum,
        temperature=Span(*options.span("teacher_temperature")),
        temperature_steps=round(options.temperature_warmup * options.steps),
        prototypes=options.prototypes,
        hidden=options.hidden,
        bottleneck=options.bottleneck,
        dense_weight=options.dense_weight,
        dense_points=options.dense_points,
        dense_reach=options.dense_reach,
        frozen_steps=round(options.frozen * options.steps),
        clip=options.clip,
        precision=machine.precision(options.precision, device),
    )


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
    """A training run; None if its backbone is there.

    Raises:
        OptionError: sizes or spans mean nothing.
        CapacityError: the dump has too few images.
    """
    index = IndexReader(workspace, dump)
    options.check(spec.patch)
    if index.manifest["images"] < 2:
        raise CapacityError(
            f"dump {dump} has {index.manifest['images']} images to train on; give 2 or more"
        )
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


def finish(stage: Stage, seconds: float, computed: int) -> dict[str, Any]:
    """Write the manifest of a trained backbone."""
    (record,) = stage.folder.records(stage.shards)
    return stage.finish(seconds, computed, **record.results)


def outcome(
    workspace: Workspace, dump: str, spec: BackboneSpec, options: PretrainOptions
) -> dict[str, Any]:
    """What a finished training left: its key, where the weights are, how it ended."""
    folder = workspace.folder(TITLE, pretrain_key(IndexReader(workspace, dump), spec, options))
    manifest = folder.manifest()
    told = ("loss", "entropy", "information", "collapsed", "quality")
    return {
        "key": folder.path.rpartition("/")[2],
        "backbone": spec.name,
        "weights": workspace.storage.full(f"{folder.path}/{WEIGHTS_FILE}"),
        **{name: manifest[name] for name in told},
    }
