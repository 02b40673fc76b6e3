"""Stage picie: PiCIE, a baseline, trained on some dumps' images."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from stego_core.errors import CapacityError
from stego_core.picie.picie_training import PicieRecipe
from tasks.corpus.index import IndexReader
from tasks.engine import checkpoints, machine
from tasks.engine.stage import Stage, Stopwatch
from tasks.engine.steps import GpuWork
from tasks.engine.training_loop import TrainingLoop
from tasks.options import ComputeOptions, PicieOptions
from tasks.picie import picie_models
from tasks.picie.picie_models import NetworkSpec
from tasks.picie.picie_run import PicieRun, resumed
from tasks.picie.square_images import SquareImages
from tasks.workspace import keys, layout, tables
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace

VERSION = 1
"""Raised whenever the same options would give another network or other clusters."""
TITLE = "picie"
"""What the progress calls the stage."""
REPORT_STEPS = 5
"""Progress is reported after each so many steps."""
TAIL_STEPS = 20
"""The manifest holds the mean of the losses of so many last steps."""
STEP_BYTES = 1500
"""Bytes that a step holds for each pixel of a view: measured were 1,360 with 8 images of 320 pixels
and 1,560 with 16 of 160, both views, parameters and Adam's moments among them (ResNet-18, CPU)."""


@dataclass(frozen=True)
class PicieWork(GpuWork):
    """One training run and its last clustering, the only shard of its stage."""

    indices: Sequence[IndexReader]
    spec: NetworkSpec
    options: PicieOptions
    classes: int
    folder: Folder
    device: str

    def shard(self, shard: int) -> Record:
        """Train to the end from the newest checkpoint, then cluster and store.

        Raises:
            TrainingError: the loss is not a number any more.
        """
        watch, recipe = Stopwatch(), recipe_of(self.options, self.classes)
        images = SquareImages(list(self.indices), 2 * recipe.size, self.options.image_memory)
        network = picie_models.starting_network(self.folder.storage, self.spec, recipe.seed)
        device = machine.device(self.device)
        steps = total_steps(recipe, images.count)
        loop = TrainingLoop(self.folder, TITLE, steps, self.options.checkpoint_steps, REPORT_STEPS)
        with machine.threads(self.options.threads):
            with watch("infer"):
                run = resumed(self.folder, network, recipe, images, images.count, device)
                loop.run(run.state.step, run.prepare, run.train, run.tensors, run.remark)
            with watch("cluster"):
                centroids = run.final_centroids()
            record = self._store(shard, run, centroids, watch)
        record.invalid.update(images.invalid)
        return self.folder.record(record)

    def _store(
        self, shard: int, run: PicieRun, centroids: torch.Tensor, watch: Stopwatch
    ) -> Record:
        """Write the network, the centroids and the curve; returns the record."""
        storage, path = self.folder.storage, self.folder.path
        checkpoints.write_rows(self.folder, layout.CURVE_FILE, run.curve)
        network = picie_models.arrays_of(run.state.network)
        content = tables.write_tensors(storage, f"{path}/{layout.WEIGHTS_FILE}", network)
        clusters = {"centroids": centroids.cpu().numpy()}
        content += tables.write_tensors(storage, f"{path}/{layout.CENTROIDS_FILE}", clusters)
        tail = run.curve[-TAIL_STEPS:]
        means = {
            name: round(float(np.mean([getattr(row, name) for row in tail])), 4)
            for name in ("loss", "within", "across")
        }
        digest = keys.digest(content)
        place = {
            "device": run.state.device.partition(":")[0],
            "threads": torch.get_num_threads(),
        }
        results = {"digest": digest, **means, "machine": place}
        span = (0, run.state.step)
        return Record(shard, span, len(content), digest, watch.seconds, {}, results)


def recipe_of(options: PicieOptions, classes: int) -> PicieRecipe:
    """The core's recipe for these options and K."""
    same = {each.name for each in fields(PicieRecipe)} - {"classes"}
    return PicieRecipe(classes, **options.model_dump(include=same))


def total_steps(recipe: PicieRecipe, images: int) -> int:
    """Training steps of all epochs."""
    return recipe.epochs * recipe.epoch_steps(images)


def picie_key(
    indices: Sequence[IndexReader], spec: NetworkSpec, options: PicieOptions, classes: int
) -> str:
    """Key of PiCIE trained on these dumps from these weights, with so many clusters."""
    pins = {"dumps": _digests(indices), "start": spec.digest, "classes": classes}
    return keys.key(TITLE, VERSION, options.content(), pins)


def _digests(indices: Sequence[IndexReader]) -> list[list[str]]:
    return [[index.dump, index.manifest["index"]] for index in indices]


def plan(
    workspace: Workspace,
    dumps: Sequence[str],
    spec: NetworkSpec,
    options: PicieOptions,
    classes: int,
    compute: ComputeOptions,
) -> Stage | None:
    """Plan a training run; None if its network and clusters are there.

    Raises:
        CapacityError: the dumps have too few images.
    """
    indices = [IndexReader(workspace, dump) for dump in dumps]
    images = sum(int(index.manifest["images"]) for index in indices)
    if images < 1:
        raise CapacityError(f"dumps {', '.join(dumps)} have no images to train PiCIE on; give some")
    folder = workspace.folder(layout.picie(picie_key(indices, spec, options, classes)))
    if folder.finished:
        return None
    recipe = recipe_of(options, classes)
    manifest = {
        "stage": TITLE,
        "version": VERSION,
        "options": options.content().model_dump(mode="json"),
        "inputs": {"dumps": _digests(indices)},
        "start": spec.document(),
        "classes": classes,
    }
    work = PicieWork(indices, spec, options, classes, folder, compute.device)
    steps = total_steps(recipe, images)
    return Stage(folder, TITLE, "steps", steps, 1, work, manifest, _memory(recipe, images, options))


def _memory(recipe: PicieRecipe, images: int, options: PicieOptions) -> int:
    """Bytes of a step, of the labels of all images and of the decoded images."""
    batch = min(recipe.batch, images)
    labels = 2 * images * recipe.cells**2
    return batch * recipe.size**2 * STEP_BYTES + labels + options.image_memory * 2**20
