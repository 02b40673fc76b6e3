"""The linear probe as STEGO fits it: on every labelled pixel of the training crops, in steps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stego_core.errors import InputError
from stego_core.head.batches import step_generator, with_data
from stego_core.head.head import MeanShiftHead
from stego_core.images.geometry import crop_windows, square_labels
from stego_core.labels.void import VOID
from stego_core.scores.linear_probe import PixelFit
from tasks.corpus.index import IndexReader
from tasks.engine import checkpoints, machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import Step
from tasks.engine.training_loop import TrainingLoop
from tasks.features.rows import FeatureRows, PatchCache
from tasks.head import heads
from tasks.options import ComputeOptions
from tasks.scores.quick_probe import PROBE_FILE
from tasks.workspace import arrays, keys, layout, tables
from tasks.workspace.ledger import Folder, Record

VERSION = 1
TITLE = "linear probe"
CHECKPOINT_STEPS, REPORT_STEPS = 200, 20


class ProbeBatch(NamedTuple):
    """What a step learns from.

    Attributes:
        patches: (B, h, w, C) float16 features.
        labels: (B, H, W) int64 class ids, void −1.
        generator: draws the dropout; it has drawn the rows.
    """

    patches: NDArray[np.float16]
    labels: NDArray[np.int64]
    generator: torch.Generator


class LabelledRows:
    """Feature rows whose images have labels, and the labels of their crops."""

    def __init__(self, rows: FeatureRows) -> None:
        """Find them among the rows of all dumps; reads tables only.

        Raises:
            InputError: there are none.
        """
        self.rows = rows
        self.manifest = rows.manifest(rows.dumps[0])
        self.crops = int(self.manifest["crops"])
        self.side = int(self.manifest["options"]["crop_size"])
        self.readers = [IndexReader(rows.workspace, dump) for dump in rows.dumps]
        self.drawn = [
            arrays.read_rows(rows.workspace.storage, rows.path(dump), "images", slice(None))
            for dump in rows.dumps
        ]
        valid, offsets, usable = rows.valid(), rows.offsets(), []
        for number, drawn in enumerate(self.drawn):
            labelled = np.array([digest is not None for _, digest in self.labels[number]])
            there = np.repeat(labelled[drawn], self.crops)
            usable.append(offsets[number] + np.flatnonzero(there))
        found = np.concatenate(usable).astype(np.int64)
        self.usable: NDArray[np.int64] = found[valid[found]]
        if not len(self.usable):
            raise InputError(
                "none of the crops that features are kept for has a label; use --no-linear-probe"
            )

    @cached_property
    def labels(self) -> list[list[tuple[str | None, str | None]]]:
        """Path and digest of the label of every image, by dump."""
        return [
            [
                pair
                for parts in zip(reader.column("label"), reader.column("label_digest"), strict=True)
                for pair in zip(*parts, strict=True)
            ]
            for reader in self.readers
        ]

    def classes(self) -> int:
        """Classes of the labels."""
        reader = next(each for each in self.readers if each.manifest["labelled"])
        return len(reader.taxonomy().classes)

    def of(self, row: int) -> NDArray[np.int64]:
        """Class ids (side, side) int64 of a row's crop, void −1."""
        number, place, crop = self.rows.location(row)
        (entry,) = self.readers[number].entries(self.drawn[number][[place]])
        ids = self.readers[number].labels(entry)
        assert ids is not None  # only labelled rows are asked for
        window = crop_windows(ids.shape[0], ids.shape[1], self.crops == 5)[crop]
        return square_labels(ids[window.slices], self.side).astype(np.int64)


@dataclass(frozen=True)
class PixelProbeWork:
    """One fit, the only shard of its stage."""

    rows: FeatureRows
    head_key: str
    folder: Folder
    seed: int
    steps_to_do: int
    batch: int
    feature_memory: int
    device: str

    def steps(self) -> Sequence[Step]:
        """One step, on a GPU where there is one."""
        return [Step(self.fit, gpu=True)]

    def fit(self, shard: int) -> Record:
        """Fit to the end from the newest checkpoint, then store the probe."""
        watch, device = Stopwatch(), machine.device(self.device)
        head = heads.load_head(self.rows.workspace.storage, self.head_key, device)
        trained: Any = head.head if isinstance(head, MeanShiftHead) else head
        with watch("read"):
            labelled = LabelledRows(self.rows)
            patches = PatchCache(self.rows, self.feature_memory)
        depth = int(head(torch.zeros(1, 1, self.rows.shape()[2], device=device)).shape[-1])
        fit = PixelFit.start(depth, labelled.classes(), device)
        loop = TrainingLoop(self.folder, TITLE, self.steps_to_do, CHECKPOINT_STEPS, REPORT_STEPS)

        def make_batch(step: int) -> ProbeBatch:
            generator = step_generator(self.seed, step + 1)
            draw = torch.randint(len(labelled.usable), (self.batch,), generator=generator).numpy()
            rows = labelled.usable[draw]
            labels = np.stack([labelled.of(int(row)) for row in rows])
            features = patches(rows)
            if (there := with_data(features)) is not None:
                patch = labels.shape[1] // there.shape[1]
                labels[~there.repeat(patch, axis=1).repeat(patch, axis=2)] = VOID
            return ProbeBatch(features, labels, generator)

        def train(batches: Iterable[ProbeBatch]) -> Iterator[float]:
            for batch in batches:
                features = torch.from_numpy(batch.patches.astype(np.float32)).to(device)
                with torch.no_grad():
                    kept = trained.kept(len(features), batch.generator)
                    codes = head(features, [keep[:, None, None] for keep in kept])
                yield fit.step(codes, torch.from_numpy(batch.labels).to(device))

        with watch("infer"):
            first = self._resume(fit)
            loop.run(first, make_batch, train, lambda: tensors_of(fit), "loss {:.2f}".format)
        content = tables.write_tensors(
            self.folder.storage, f"{self.folder.path}/{PROBE_FILE}", fit.result()._asdict()
        )
        span = (0, self.steps_to_do)
        record = Record(shard, span, len(content), keys.digest(content), watch.seconds)
        self.folder.record(record)
        return record

    def _resume(self, fit: PixelFit) -> int:
        """Load the newest readable checkpoint; returns the steps done."""
        found = checkpoints.newest(self.folder, TITLE)
        if found is None:
            return 0
        step, stored = found
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
    """The probe of a head, for as many steps and images a step as the head was trained.

    None if it is fitted.
    """
    place = probe_folder(rows, head_key, seed)
    if place.finished:
        return None
    trained: dict[str, Any] = rows.workspace.folder(layout.head(head_key)).manifest()["options"]
    work = PixelProbeWork(
        rows,
        head_key,
        place,
        seed,
        int(trained["steps"]),
        int(trained["batch"]),
        options.feature_memory,
        options.device,
    )
    manifest = {"stage": "probe", "protocol": "stego", "head": head_key}
    return Stage(place, TITLE, "steps", work.steps_to_do, 1, work, manifest)
