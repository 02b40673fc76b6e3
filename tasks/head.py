"""Stage head: train the segmentation head on patches and their neighbours, with checkpoints."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stego_core import training
from stego_core.errors import CapacityError, DamageError
from stego_core.head import Head
from stego_core.shifts import Triple
from stego_core.training import Curve, Recipe, TrainingSet, TrainingState
from tasks.model import HEAD_FILE
from tasks.options import ComputeOptions, HeadOptions
from tasks.progress import Progress
from tasks.rows import FeatureRows, PatchCache
from tasks.workspace import arrays, keys, tables
from tasks.workspace.ledger import Folder

logger = logging.getLogger(__name__)

VERSION = 1
CHECKPOINT_STEPS = 200
REPORT_STEPS = 20
CURVE_FILE = "curve.parquet"
CURVE_COLUMNS = {name: "int64" if name == "step" else "double" for name in Curve._fields}


@dataclass(frozen=True)
class HeadJob:
    """One training run: where it reads, how it learns, where it stores."""

    rows: FeatureRows
    neighbors_key: str
    options: HeadOptions
    folder: Folder
    manifest: dict[str, Any]


def head_key(rows: FeatureRows, neighbors_key: str, options: HeadOptions) -> str:
    """Key of the head trained on these rows and tables."""
    inputs = {**rows.inputs(), "neighbors": neighbors_key}
    return keys.key("head", VERSION, options, inputs)


def plan(rows: FeatureRows, neighbors_key: str, options: HeadOptions) -> HeadJob | None:
    """A training run; None if its head is there.

    Raises:
        OptionError: the shifts mean nothing.
    """
    calibration = options.calibration()
    key = head_key(rows, neighbors_key, options)
    folder = rows.workspace.folder("heads", key)
    if folder.finished:
        return None
    manifest = {
        "stage": "head",
        "version": VERSION,
        "options": options.model_dump(mode="json"),
        "inputs": {**rows.inputs(), "neighbors": neighbors_key},
        "backbone": rows.backbone().document(),
        "loss_weights": calibration.weights._asdict(),
        "targets": calibration.controller.targets._asdict()
        if calibration.controller.rate
        else None,
    }
    return HeadJob(rows, neighbors_key, options, folder, manifest)


def run(job: HeadJob, compute: ComputeOptions, device: str) -> dict[str, Any]:
    """Train to the end from the newest checkpoint, then store head, curve and manifest.

    Raises:
        CapacityError: too few rows to train on.
    """
    begun = time.perf_counter()
    recipe = recipe_of(job.options)
    data = training_set(job, compute)
    state, curve = resumed(job, recipe, device)
    with Progress("head", recipe.steps, "steps", state.step) as progress:
        for row in training.train(state, data, recipe):
            curve.append(row)
            if state.step % CHECKPOINT_STEPS == 0 and state.step < recipe.steps:
                save_checkpoint(job.folder, state, curve)
            if state.step % REPORT_STEPS == 0:
                progress.advance(REPORT_STEPS, f"mean S {row.mean_self:.2f} {row.mean_knn:.2f}")
    columns = {name: [getattr(row, name) for row in curve] for name in Curve._fields}
    storage = job.folder.storage
    tables.write_table(storage, f"{job.folder.path}/{CURVE_FILE}", columns, CURVE_COLUMNS)
    weights = {name: value.cpu().numpy() for name, value in state.head.state_dict().items()}
    content = tables.write_tensors(storage, f"{job.folder.path}/{HEAD_FILE}", weights)
    manifest = {
        **job.manifest,
        "digest": keys.digest(content),
        "rows": len(data.rows),
        "shifts": state.shifts._asdict(),
        "mean_correspondence": _tail_means(curve)._asdict(),
        "seconds": {"wall": round(time.perf_counter() - begun, 3)},
    }
    job.folder.finish(manifest)
    return manifest


def _tail_means(curve: list[Curve]) -> Triple:
    tail = np.array([row.means for row in curve[-100:]]).mean(axis=0)
    return Triple(*(round(float(mean), 4) for mean in tail))


def recipe_of(options: HeadOptions) -> Recipe:
    """The core's recipe for these options."""
    return Recipe(
        steps=options.steps,
        batch=options.batch,
        grid=options.grid,
        learning_rate=options.learning_rate,
        seed=options.seed,
        calibration=options.calibration(),
    )


def training_set(job: HeadJob, compute: ComputeOptions) -> TrainingSet:
    """Valid rows and their positives, patches in memory or streamed.

    Raises:
        CapacityError: fewer than two rows can be used.
    """
    table = neighbor_ids(job.rows, job.neighbors_key)[:, 1 : training.POSITIVE_RANKS + 1]
    usable = np.flatnonzero(job.rows.valid() & (table >= 0).all(axis=1)).astype(np.int64)
    if len(usable) < 2:
        raise CapacityError(f"{len(usable)} crops are too few to train on; give more images")
    return TrainingSet(PatchCache(job.rows, compute.feature_memory), usable, table[usable])


def neighbor_ids(rows: FeatureRows, neighbors_key: str) -> NDArray[np.int64]:
    """(total, k) int64 neighbour ids of all rows, −1 for nobody."""
    storage = rows.workspace.storage
    return np.concatenate(
        [
            arrays.read_rows(storage, f"neighbors/{neighbors_key}/{dump}.zarr", "ids", slice(None))
            for dump in rows.dumps
        ]
    )


def save_checkpoint(folder: Folder, state: TrainingState, curve: list[Curve]) -> None:
    """Store all that training needs to go on; a new file each time, so a torn one costs little."""
    tensors = {f"head.{name}": value for name, value in state.head.state_dict().items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in moments.items()}
    stored = {name: value.cpu().numpy() for name, value in tensors.items()}
    stored["shifts"] = np.array(state.shifts, np.float64)
    stored["curve"] = np.array(curve, np.float64)
    path = f"{folder.path}/checkpoints/{state.step:08d}.safetensors"
    tables.write_tensors(folder.storage, path, stored)


def resumed(job: HeadJob, recipe: Recipe, device: str) -> tuple[TrainingState, list[Curve]]:
    """The state of the newest readable checkpoint, or of the start."""
    channels = job.rows.shape()[2]
    state = training.start(channels, job.options.code_size, job.options.dropout, recipe, device)
    for name in reversed(job.folder.storage.names(f"{job.folder.path}/checkpoints")):
        if not name.endswith(".safetensors"):
            continue
        try:
            path = f"{job.folder.path}/checkpoints/{name}"
            stored = tables.read_tensors(job.folder.storage, path)
        except DamageError as error:
            logger.warning("checkpoint skipped: %s", error)
            continue
        return _restored(state, stored, int(name.split(".")[0]))
    return state, []


def _restored(
    state: TrainingState, stored: dict[str, NDArray[Any]], step: int
) -> tuple[TrainingState, list[Curve]]:
    head: Head = state.head
    head.load_state_dict(
        {
            name.removeprefix("head."): torch.from_numpy(value)
            for name, value in stored.items()
            if name.startswith("head.")
        }
    )
    optimiser = state.optimiser.state_dict()
    optimiser["state"] = {}
    for name, value in stored.items():
        if name.startswith("adam."):
            _, number, moment = name.split(".")
            optimiser["state"].setdefault(int(number), {})[moment] = torch.from_numpy(value)
    state.optimiser.load_state_dict(optimiser)
    state.shifts = Triple(*(float(shift) for shift in stored["shifts"]))
    state.step = step
    return state, [Curve(int(row[0]), *(float(v) for v in row[1:])) for row in stored["curve"]]
