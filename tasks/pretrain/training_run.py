"""One training of a backbone by self-distillation: its state, its curve, its label-free figures."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from stego_core.errors import TrainingError
from stego_core.pretrain import distillation
from stego_core.pretrain.dino import DinoRecipe
from stego_core.pretrain.distillation import DinoCurve, DinoState, ViewBatch
from stego_core.pretrain.quality import Quality, quality
from tasks.corpus.image_cache import ImageCache
from tasks.engine import checkpoints
from tasks.features.backbones import BackboneSpec, stored_model
from tasks.options import PretrainOptions
from tasks.pretrain.collapse import CollapseDetector
from tasks.workspace.ledger import Folder

QUALITY_IMAGES = 64
"""Images that the label-free figures are measured on, the same ones every time."""


class Figures(NamedTuple):
    """Label-free quality of the teacher's features after a number of steps."""

    step: int
    agreement: float
    rank: float


@dataclass
class DinoTraining:
    """The state of a training, its images, and its curves so far.

    Attributes:
        quality_steps: figures are measured after each so many steps, and after the last.
        curve: a row of each step so far.
        figures: label-free quality so far.
    """

    state: DinoState
    recipe: DinoRecipe
    images: ImageCache
    quality_steps: int
    curve: list[DinoCurve] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The detector of collapse depends on the recipe."""
        self.detector = CollapseDetector(self.recipe)

    def train(self, batches: Iterable[ViewBatch]) -> Iterator[DinoCurve]:
        """Learn from each batch; yields the row of its step.

        Raises:
            TrainingError: the loss is not a number any more.
        """
        for batch in batches:
            row = distillation.train_step(self.state, batch, self.recipe)
            _require_finite(row)
            self.detector.add(row)
            self.curve.append(row)
            if self.state.step % self.quality_steps == 0 or self.state.step == self.recipe.steps:
                self.figures.append(Figures(self.state.step, *self._quality()))
            yield row

    def _quality(self) -> Quality:
        """How good the teacher's features are, on the same images and views every time."""
        rows = np.random.default_rng(self.recipe.seed).permutation(self.images.count)
        self.state.teacher.eval()
        with torch.inference_mode():
            return quality(
                lambda views: self.state.teacher.tokens(views.to(self.state.image_centre.device)),
                self.images(np.sort(rows[:QUALITY_IMAGES]).astype(np.int64)),
                self.recipe.views,
                self.recipe.seed,
            )

    def remark(self, row: DinoCurve) -> str:
        """The remark that the progress shows on a step."""
        agreement = f" · agreement {self.figures[-1].agreement:.2f}" if self.figures else ""
        collapsed = " · COLLAPSED" if self.detector.collapsed else ""
        return f"loss {row.loss:.2f} · entropy {row.entropy:.2f}{agreement}{collapsed}"

    def tensors(self) -> dict[str, Any]:
        """All that training needs to go on, for a checkpoint."""
        return {
            **checkpoints.of_module(self.state.student, "student"),
            **checkpoints.of_module(self.state.teacher, "teacher"),
            **checkpoints.of_optimiser(self.state.optimiser),
            "centre.images": self.state.image_centre,
            "centre.patches": self.state.patch_centre,
            "curve": np.array(self.curve, np.float64),
            "quality": np.array(self.figures, np.float64).reshape(-1, len(Figures._fields)),
        }

    def restore(self, step: int, stored: checkpoints.Tensors) -> None:
        """Continue from a checkpoint, made after so many steps."""
        state = self.state
        state.step = step
        checkpoints.load_module(state.student, "student", stored)
        checkpoints.load_module(state.teacher, "teacher", stored)
        checkpoints.load_optimiser(state.optimiser, stored)
        state.image_centre.copy_(torch.from_numpy(stored["centre.images"]))
        state.patch_centre.copy_(torch.from_numpy(stored["centre.patches"]))
        self.curve = [DinoCurve(int(row[0]), *map(float, row[1:])) for row in stored["curve"]]
        self.figures = [Figures(int(row[0]), *map(float, row[1:])) for row in stored["quality"]]


def resumed(
    folder: Folder,
    spec: BackboneSpec,
    recipe: DinoRecipe,
    images: ImageCache,
    options: PretrainOptions,
    device: str,
) -> DinoTraining:
    """The training of the newest readable checkpoint in a stage's folder, or at its start."""
    state = distillation.start(stored_model(folder.storage, spec), recipe, device)
    training = DinoTraining(state, recipe, images, options.quality_steps)
    if (checkpoint := checkpoints.newest(folder, "pretrain")) is not None:
        training.restore(*checkpoint)
    return training


def _require_finite(row: DinoCurve) -> None:
    if not (math.isfinite(row.loss) and math.isfinite(row.gradient)):
        raise TrainingError(
            f"training diverged at step {row.step} (loss {row.loss:.4g}, gradient "
            f"{row.gradient:.4g}); run it with a lower --learning-rate"
        )
