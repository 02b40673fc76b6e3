"""Stage pretrain: a backbone of one's own by self-distillation on a dump's images."""

import math
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core import dino
from stego_core.backbone import bare_model, load_weights
from stego_core.dino import Curve, DinoRecipe, DinoState, Span
from stego_core.errors import CapacityError, ImageError, TrainingError
from stego_core.quality import Quality, quality
from stego_core.views import Pixels, ViewRecipe
from tasks import checkpoints, machine
from tasks.images import shrunk
from tasks.index import IndexReader
from tasks.log import Log
from tasks.model import WEIGHTS_FILE, BackboneSpec
from tasks.options import ComputeOptions, PretrainOptions
from tasks.prefetch import ahead
from tasks.progress import Progress
from tasks.stage import Stage, Stopwatch
from tasks.steps import Step
from tasks.workspace import keys, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

log = Log(__name__)

VERSION = 1
TITLE = "pretrain"
CHECKPOINTS_KEPT = 2
"""The newest one, and one more should that be torn."""
BATCHES_AHEAD = 2
QUALITY_IMAGES = 64
"""Images that the label-free figures are taken on, the same ones every time."""
REPORT_STEPS = 10
ALARM_STEPS = 100
ALARM_INFORMATION = 0.02
"""Collapse: targets tell less than this share of log K, on average over `ALARM_STEPS`."""
CURVE_FILE, QUALITY_FILE = "curve.parquet", "quality.parquet"
CURVE_COLUMNS = {name: "int64" if name == "step" else "double" for name in Curve._fields}


class ImageCache:
    """A dump's images by row: held in memory up to a budget, decoded anew beyond it.

    An image that cannot be read any more gives its place to the next one that can.
    """

    def __init__(self, index: IndexReader, side: int, budget: int) -> None:
        """Images of a short side of at most `side` pixels; `budget` in MiB."""
        self.index, self.side = index, side
        self.count = int(index.manifest["images"])
        self.free = budget * 2**20
        self.held: dict[int, Pixels] = {}
        self.invalid: dict[int, str] = {}
        self.lock = threading.Lock()

    def __call__(self, rows: NDArray[np.int64]) -> list[Pixels]:
        """(H, W, 3) uint8 RGB of each row.

        Raises:
            CapacityError: not one image can be read.
        """
        missing = sorted({int(row) for row in rows} - self.held.keys())
        read = {row: self._read(row) for row in missing}
        return [read[row] if row in read else self.held[row] for row in map(int, rows)]

    def _read(self, row: int) -> Pixels:
        for place in range(row, row + self.count):
            candidate = place % self.count
            if candidate in self.held:
                return self.held[candidate]
            if candidate in self.invalid:
                continue
            (entry,) = self.index.entries(np.array([candidate]))
            try:
                image = shrunk(self.index.image(entry), self.side)
            except ImageError as error:
                self.invalid[candidate] = str(error)
                continue
            with self.lock:  # several batches are drawn at once
                if candidate not in self.held and image.nbytes <= self.free:
                    self.free -= image.nbytes
                    self.held[candidate] = image
            return image
        raise CapacityError(f"dump {self.index.dump} has no image that can be read")


class Figures(NamedTuple):
    """Label-free quality of the teacher's features after a number of steps."""

    step: int
    agreement: float
    rank: float


QUALITY_COLUMNS = {name: "int64" if name == "step" else "double" for name in Figures._fields}


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
        record = self._store(shard, state, curve, figures, images, watch)
        self.folder.record(record)
        return record

    def _trained(
        self, state: DinoState, recipe: DinoRecipe, images: ImageCache, figures: list[Figures]
    ) -> Iterator[Curve]:
        """The remaining steps' rows, while figures, progress and alarms are seen to."""
        progress = Progress(TITLE, recipe.steps, "steps", state.step)
        reported, alarm = state.step, Alarm(recipe)
        remaining = range(state.step, recipe.steps)
        draw = partial(dino.prepared, images, images.count, recipe)
        drawn = ahead(remaining, draw, BATCHES_AHEAD)
        for row in dino.train(state, recipe, (batch for _, batch in drawn)):
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
        curve: list[Curve],
        figures: list[Figures],
        images: ImageCache,
        watch: Stopwatch,
    ) -> Record:
        """Write the teacher's backbone, the curve and the figures; returns the record."""
        storage, path = self.folder.storage, self.folder.path
        write_rows(self.folder, CURVE_FILE, curve, CURVE_COLUMNS)
        write_rows(self.folder, QUALITY_FILE, figures, QUALITY_COLUMNS)
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
            "collapsed": Alarm(recipe_of(self.options, "cpu")).of(tail),
            "quality": figures[-1]._asdict(),
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
        state = dino.start(model, recipe, device)
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


class Alarm:
    """Listens for collapse: targets that tell nothing about their image."""

    def __init__(self, recipe: DinoRecipe) -> None:
        """After the warm-up, when teachers of healthy runs have begun to tell images apart."""
        self.least = ALARM_INFORMATION * math.log(recipe.prototypes)
        self.begins = max(recipe.warmup, recipe.temperature_steps)
        self.recent: deque[Curve] = deque(maxlen=ALARM_STEPS)
        self.ringing = False

    def hear(self, row: Curve) -> None:
        """Take in a step; warns once when a collapse begins, and once when it is over."""
        if row.step >= self.begins:
            self.recent.append(row)
        ringing = len(self.recent) == ALARM_STEPS and self.of(self.recent)
        if ringing and not self.ringing:
            log.warning(
                "the teacher has collapsed: its targets tell nothing about their image; lower "
                "--learning-rate or --teacher-temperature, or give more images",
                stage=TITLE,
                step=row.step,
                entropy=round(row.entropy, 3),
                information=round(row.information, 4),
            )
        if self.ringing and not ringing:
            log.warning("the teacher has recovered", stage=TITLE, step=row.step)
        self.ringing = ringing

    def of(self, rows: Collection[Curve]) -> bool:
        """Whether these rows are those of a collapsed teacher."""
        return sum(row.information for row in rows) < self.least * len(rows)


def _note(row: Curve, figures: list[Figures], alarm: Alarm) -> str:
    """A live remark beside the progress bar."""
    known = f" · agreement {figures[-1].agreement:.2f}" if figures else ""
    collapsed = " · COLLAPSED" if alarm.ringing else ""
    return f"loss {row.loss:.2f} · entropy {row.entropy:.2f}{known}{collapsed}"


def write_rows(
    folder: Folder, name: str, rows: Sequence[NamedTuple], columns: dict[str, str]
) -> None:
    """Store named tuples as a table."""
    table = {column: [getattr(row, column) for row in rows] for column in columns}
    tables.write_table(folder.storage, f"{folder.path}/{name}", table, columns)


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
    memory = options.image_memory * 2**20
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
