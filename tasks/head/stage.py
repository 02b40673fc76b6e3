"""Stage head: train the segmentation head on patches and their neighbours, with checkpoints."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stego_core.errors import CapacityError
from stego_core.head import batches, mean_shift, shift_calibration, training
from stego_core.head.batches import ImageReader, TrainingSet, plain
from stego_core.head.shift_presets import PRESETS, Triple
from stego_core.head.training import HeadCurve, PreparedStep, Recipe, TrainingState
from tasks.engine import checkpoints, machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.engine.training_loop import TrainingLoop
from tasks.features.rows import FeatureRows, PatchCache
from tasks.head.mean_shift_reader import ShiftedImages
from tasks.options import ComputeOptions, HeadOptions
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.ledger import Folder, Record

VERSION = 8
"""Raised whenever the same options would give another head."""
TITLE = "head"
"""What the progress calls the stage."""
CHECKPOINT_STEPS = 200
"""A checkpoint is stored after each so many steps."""
REPORT_STEPS = 20
"""Progress is reported after each so many steps."""
SAME = {"steps", "batch", "grid", "learning_rate", "seed", "negatives", "centring"}
"""Options that the recipe has under the same name."""
AVERAGING = 0.99
"""Decay of the exponential moving average (EMA) of the weights; the published recipe has none."""


@dataclass(frozen=True)
class HeadWork(GpuWork):
    """One training run, the only shard of its stage: where it reads, how it learns.

    Checkpoints after the steps `kept` stay, so that shorter trainings find their heads there;
    `longer` are the folders of trainings that differ from this one in more steps alone.
    """

    rows: FeatureRows
    neighbors_key: str
    options: HeadOptions
    folder: Folder
    feature_memory: int
    device: str
    kept: tuple[int, ...] = ()
    longer: tuple[Folder, ...] = ()

    def shard(self, shard: int) -> Record:
        """Train to the end from the newest checkpoint, then store the head and its curve.

        Raises:
            CapacityError: too few rows to train on.
        """
        watch = Stopwatch()
        recipe = recipe_of(self.options, self.rows.backbone().precision)
        with watch("read"):
            stored = checkpoint(self)
            left = stored is None or stored[0] < recipe.steps
            memory = self.feature_memory if left else 0  # no patch is read of a finished training
            data = training_set(self.rows, self.neighbors_key, self.options.recipe, memory)
            state, curve = started(self, recipe, data, stored)
        device = machine.device(self.device)
        often = CHECKPOINT_STEPS, REPORT_STEPS
        loop = TrainingLoop(self.folder, TITLE, recipe.steps, *often, self.kept)

        def train(batches: Iterable[PreparedStep]) -> Iterator[HeadCurve]:
            for row in training.train(state, recipe, batches):
                curve.append(row)
                yield row

        with watch("infer"):
            make_batch = partial(training.prepare_step, data, recipe, state.shifts, device)
            loop.run(state.step, make_batch, train, lambda: tensors_of(state, curve), remark)
        checkpoints.write_rows(self.folder, layout.CURVE_FILE, curve)
        weights = {name: value.cpu().numpy() for name, value in state.average.state_dict().items()}
        path = f"{self.folder.path}/{layout.HEAD_FILE}"
        content = tables.write_tensors(self.folder.storage, path, weights)
        size, digest = len(content), keys.digest(content)
        tail_means = np.array([row.means for row in curve[-100:]]).mean(axis=0)
        results = {
            "digest": digest,
            "training_rows": len(data.rows),
            "shifts": rounded(state.shifts)._asdict(),
            "mean_correspondence": rounded(tail_means)._asdict(),
        }
        span = (0, recipe.steps)
        record = Record(shard, span, size, digest, watch.seconds, results=results)
        return self.folder.record(record)


def head_key(rows: FeatureRows, neighbors_key: str, options: HeadOptions) -> str:
    """Key of the head trained on these rows and tables."""
    inputs = {**rows.inputs(), "neighbors": neighbors_key}
    if options.shifts in PRESETS:  # whose numbers may get more digits
        inputs["preset"] = PRESETS[options.shifts]
    return keys.key("head", VERSION, options, inputs)


def plan(
    rows: FeatureRows,
    neighbors_key: str,
    options: HeadOptions,
    compute: ComputeOptions,
    kept: Sequence[int] = (),
    longer: Sequence[str] = (),
) -> Stage | None:
    """Plan a training run; None if its head is there.

    Args:
        kept: checkpoints after these steps stay.
        longer: keys of heads that were trained like this one, but for more steps: this one goes on
            from the last of their checkpoints that it would pass, with the same outcome.

    Raises:
        OptionError: the shifts mean nothing.
    """
    weights = options.calibration().weights
    key = head_key(rows, neighbors_key, options)
    folder = rows.workspace.folder(layout.head(key))
    if folder.finished:
        return None
    manifest = {
        "stage": "head",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": {**rows.inputs(), "neighbors": neighbors_key},
        "backbone": rows.backbone().document(),
        "loss_weights": weights._asdict(),
    }
    where = compute.feature_memory, compute.device
    others = tuple(rows.workspace.folder(layout.head(key)) for key in longer)
    work = HeadWork(rows, neighbors_key, options, folder, *where, tuple(kept), others)
    return Stage(folder, TITLE, "steps", options.steps, 1, work, manifest)


def rounded(values: Iterable[float]) -> Triple:
    """Four digits of a triple, for a manifest."""
    return Triple(*(round(float(value), 4) for value in values))


def recipe_of(options: HeadOptions, precision: str) -> Recipe:
    """The core's recipe for these options; products are as precise as the features' are."""
    shifted = options.recipe == mean_shift.RECIPE
    return Recipe(
        **options.model_dump(include=SAME),
        weights=options.calibration().weights,
        averaging=AVERAGING if shifted else 0.0,
        precision=precision,
        attracting=shift_calibration.SHIFTED if shifted else shift_calibration.PLAIN,
    )


def training_set(
    rows: FeatureRows, neighbors_key: str, recipe: str, feature_memory: int
) -> TrainingSet:
    """Valid rows and their positives, patches as the recipe wants them, in memory or streamed.

    Raises:
        CapacityError: fewer than two rows can be used.
    """
    table = neighbor_ids(rows, neighbors_key)[:, 1 : batches.POSITIVE_RANKS + 1]
    usable = np.flatnonzero(rows.valid() & (table >= 0).all(axis=1)).astype(np.int64)
    if len(usable) < 2:
        raise CapacityError(f"{len(usable)} crops are too few to train on; give more images")
    cache = PatchCache(rows, feature_memory)
    images: ImageReader = (
        ShiftedImages(cache) if recipe == mean_shift.RECIPE else lambda rows: plain(cache(rows))
    )
    return TrainingSet(images, usable, table[usable])


def neighbor_ids(rows: FeatureRows, neighbors_key: str) -> NDArray[np.int64]:
    """(total, k) int64 neighbour ids of all rows, −1 for nobody."""
    tables = [layout.neighbors(neighbors_key, dump) for dump in rows.dumps]
    return np.concatenate([arrays.read_rows(rows.storage, t, "ids", slice(None)) for t in tables])


def remark(row: HeadCurve) -> str:
    """The remark that the progress shows on a step."""
    return f"mean S {row.mean_self:.2f} {row.mean_knn:.2f}"


def tensors_of(state: TrainingState, curve: list[HeadCurve]) -> dict[str, Any]:
    """All that training needs to go on, for a checkpoint."""
    return {
        **checkpoints.of_module(state.head, "head"),
        **checkpoints.of_module(state.average, "average"),
        **checkpoints.of_optimiser(state.optimiser),
        "shifts": np.array(state.shifts, np.float64),
        "curve": np.array(curve, np.float64),
    }


Checkpoint = tuple[int, checkpoints.Tensors]
"""Steps done, and what `tensors_of` named."""


def checkpoint(work: HeadWork) -> Checkpoint | None:
    """The checkpoint to go on from, of this training or of a longer one; None before the first."""
    folders = (work.folder, *work.longer)
    found = (checkpoints.newest(folder, TITLE, work.options.steps) for folder in folders)
    return max(filter(None, found), key=lambda one: one[0], default=None)


def started(
    work: HeadWork, recipe: Recipe, data: TrainingSet, stored: Checkpoint | None
) -> tuple[TrainingState, list[HeadCurve]]:
    """The state of a checkpoint, or of the start, and the curve up to it."""
    options, channels = work.options, work.rows.shape()[2]
    device = machine.device(work.device)
    start = partial(training.start, channels, options.code_size, options.dropout, recipe)
    if stored is None:
        shifts = options.calibration().shifts or training.measured_shifts(data, recipe).shifts
        return start(shifts, device), []
    step, tensors = stored
    state = start(Triple(*(float(shift) for shift in tensors["shifts"])), device)
    state.step = step
    checkpoints.load_module(state.head, "head", tensors)
    checkpoints.load_module(state.average, "average", tensors)
    checkpoints.load_optimiser(state.optimiser, tensors)
    return state, [HeadCurve(int(row[0]), *(float(v) for v in row[1:])) for row in tensors["curve"]]
