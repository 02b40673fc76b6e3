"""The linear probe as STEGO fits it: on every labelled pixel of the training crops, in steps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.head.batches import step_generator, with_data
from stego_core.head.head import MeanShiftHead
from stego_core.labels.void import VOID
from stego_core.scores.linear_probe import PixelFit
from tasks.engine import checkpoints, machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.engine.training_loop import TrainingLoop
from tasks.features.rows import FeatureRows, PatchCache
from tasks.head import heads
from tasks.options import ComputeOptions
from tasks.scores.labelled_crops import LabelledCrops
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record

VERSION = 1
"""Raised whenever the same labels would give another probe."""
TITLE = "linear probe"
"""What the progress calls the stage."""
CHECKPOINT_STEPS = 200
"""A checkpoint is stored after each so many steps."""
REPORT_STEPS = 20
"""Progress is reported after each so many steps."""
ProbeBatch = tuple[NDArray[np.float16], NDArray[np.int64], torch.Generator]
"""Features (B, h, w, C), class ids (B, H, W) with void −1, and the generator of the dropout."""


@dataclass(frozen=True)
class PixelProbeWork(GpuWork):
    """One fit, the only shard of its stage."""

    rows: FeatureRows
    head_key: str
    folder: Folder
    seed: int
    steps_to_do: int
    batch: int
    feature_memory: int
    device: str

    def shard(self, shard: int) -> Record:
        """Fit to the end from the newest checkpoint, then store the probe."""
        watch, device = Stopwatch(), machine.device(self.device)
        head = heads.load_head(self.rows.storage, self.head_key, device)
        trained: Any = head.head if isinstance(head, MeanShiftHead) else head
        with watch("read"):
            labelled = LabelledCrops(self.rows)
            patches = PatchCache(self.rows, self.feature_memory)
        depth = int(head(torch.zeros(1, 1, self.rows.shape()[2], device=device)).shape[-1])
        fit = PixelFit(depth, labelled.classes, device)
        loop = TrainingLoop(self.folder, TITLE, self.steps_to_do, CHECKPOINT_STEPS, REPORT_STEPS)

        def make_batch(step: int) -> ProbeBatch:
            generator = step_generator(self.seed, step + 1)
            sample = torch.randint(len(labelled.rows), (self.batch,), generator=generator)
            rows = labelled.rows[sample.numpy()]
            images_and_crops = [divmod(int(row), labelled.crops) for row in rows]
            crops = [labelled.labels(image)[crop] for image, crop in images_and_crops]
            labels = np.stack(crops, dtype=np.int64)
            features = patches(rows)
            if (data := with_data(features)) is not None:
                patch = labels.shape[1] // data.shape[1]
                labels[~data.repeat(patch, axis=1).repeat(patch, axis=2)] = VOID
            return features, labels, generator

        def train(batches: Iterable[ProbeBatch]) -> Iterator[float]:
            for batch, labels, generator in batches:
                features = torch.from_numpy(batch.astype(np.float32)).to(device)
                with torch.no_grad():
                    kept = trained.kept(len(features), generator)
                    codes = head(features, [keep[:, None, None] for keep in kept])
                yield fit.step(codes, torch.from_numpy(labels).to(device))

        with watch("infer"):
            first = self._resume(fit)
            loop.run(first, make_batch, train, lambda: tensors_of(fit), "loss {:.2f}".format)
        content = tables.write_tensors(
            self.folder.storage, f"{self.folder.path}/{layout.PROBE_FILE}", fit.result()._asdict()
        )
        span = (0, self.steps_to_do)
        record = Record(shard, span, len(content), keys.digest(content), watch.seconds)
        return self.folder.record(record)

    def _resume(self, fit: PixelFit) -> int:
        """Load the newest readable checkpoint; returns the steps done."""
        step, stored = checkpoints.newest(self.folder, TITLE) or (0, None)
        if stored is None:
            return 0
        checkpoints.load_module(fit.linear, "probe", stored)
        checkpoints.load_optimiser(fit.optimiser, stored)
        return step


def tensors_of(fit: PixelFit) -> dict[str, Tensor]:
    """All that the fit needs to go on, for a checkpoint."""
    return {
        **checkpoints.of_module(fit.linear, "probe"),
        **checkpoints.of_optimiser(fit.optimiser),
    }


def probe_folder(rows: FeatureRows, head_key: str, seed: int) -> Folder:
    """Where a head's probe lies."""
    inputs = {**rows.inputs(), "head": head_key, "seed": seed}
    key = keys.key("pixelprobe", VERSION, None, inputs)
    return rows.workspace.folder(layout.SCORES, "probes", key)


def plan(rows: FeatureRows, head_key: str, seed: int, options: ComputeOptions) -> Stage | None:
    """Plan the probe of a head, with the head's steps and batch; None if it is fitted."""
    folder = probe_folder(rows, head_key, seed)
    if folder.finished:
        return None
    trained: dict[str, Any] = rows.workspace.folder(layout.head(head_key)).manifest()["options"]
    steps, batch, memory = int(trained["steps"]), int(trained["batch"]), options.feature_memory
    work = PixelProbeWork(rows, head_key, folder, seed, steps, batch, memory, options.device)
    manifest = {"stage": "probe", "protocol": "stego", "head": head_key}
    return Stage(folder, TITLE, "steps", steps, 1, work, manifest)
