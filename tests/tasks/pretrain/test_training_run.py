"""One training: what it keeps of each step, when it measures, and what a checkpoint restores."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from stego_core.errors import TrainingError
from stego_core.pretrain import distillation
from stego_core.pretrain.dino import DinoRecipe
from stego_core.pretrain.distillation import DinoCurve, ViewBatch
from stego_core.pretrain.quality import Quality
from stego_core.pretrain.views import Pixels
from tasks.corpus.image_cache import ImageCache
from tasks.options import PretrainOptions
from tasks.pretrain.stage import recipe_of
from tasks.pretrain.training_run import DinoTraining, Figures

RECIPE: DinoRecipe = replace(
    recipe_of(
        PretrainOptions(
            steps=4, batch=2, global_size=16, local_size=8, local_views=1, prototypes=6, hidden=8,
            bottleneck=4, learning_rate=1e-3,
        ),
        "cpu",
    ),
    precision="float32",
)  # fmt: skip


class Images:
    """Three images of noise."""

    count = 3

    def __call__(self, rows: np.ndarray) -> list[Pixels]:
        return [
            np.random.default_rng(row).integers(0, 255, (24, 20, 3), np.uint8)
            for row in rows.tolist()
        ]


def training(quality_steps: int = 10) -> DinoTraining:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = VisionTransformer(
            img_size=16, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=0,
            dynamic_img_size=True,
        )  # fmt: skip
    state = distillation.start(vit, RECIPE, "cpu")
    return DinoTraining(state, RECIPE, cast(ImageCache, Images()), quality_steps)


def batches(first: int, last: int) -> Iterator[ViewBatch]:
    for step in range(first, last):
        yield distillation.prepare_batch(Images(), Images.count, RECIPE, None, step)


def values(run: DinoTraining) -> dict[str, Tensor]:
    return {name: torch.as_tensor(np.array(value)) for name, value in run.tensors().items()}


class TestTrain:
    def test_batches_are_asked_for_one_by_one(self) -> None:
        source = batches(0, 3)
        run = training()
        assert next(run.train(source)).step == 0
        assert run.state.step == 1
        assert len(list(source)) == 2

    def test_every_step_is_on_the_curve(self) -> None:
        run = training()
        rows = list(run.train(batches(0, 3)))
        assert run.curve == rows
        assert [row.step for row in rows] == [0, 1, 2]

    @pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4]), (3, [3, 4]), (9, [4])])
    def test_quality_at_the_steps_asked_for_and_the_last(
        self, every: int, steps: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(DinoTraining, "_quality", lambda self: Quality(0.5, 2.0))
        run = training(every)
        list(run.train(batches(0, 4)))
        assert run.figures == [Figures(step, 0.5, 2.0) for step in steps]

    @pytest.mark.parametrize("changes", [{"loss": np.nan}, {"gradient": np.inf}])
    def test_what_is_no_number_ends_it(
        self, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = DinoCurve(7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1e-3)._replace(**changes)
        monkeypatch.setattr(distillation, "train_step", lambda *_: broken)
        run = training()
        with pytest.raises(TrainingError, match=r"diverged at step 7 .*lower --learning-rate"):
            list(run.train(batches(0, 1)))
        assert run.curve == []


class TestRestore:
    def test_a_copy_goes_on_as_the_training_itself(self) -> None:
        run, copy = training(quality_steps=2), training(quality_steps=2)
        list(run.train(batches(0, 2)))
        stored: dict[str, Any] = {n: np.array(v) for n, v in run.tensors().items()}
        copy.restore(2, stored)
        assert (copy.curve, copy.figures) == (run.curve, run.figures)
        for one in (run, copy):
            list(one.train(batches(2, 4)))
        assert copy.curve == run.curve
        assert all(torch.equal(value, values(copy)[name]) for name, value in values(run).items())

    def test_no_figures_are_an_empty_table(self) -> None:
        run = training()
        assert run.tensors()["quality"].shape == (0, 3)
        copy = training()
        list(run.train(batches(0, 1)))
        copy.restore(1, {name: np.array(value) for name, value in run.tensors().items()})
        assert copy.figures == []


def test_the_remark_has_what_is_known() -> None:
    run, row = training(), DinoCurve(0, 1.234, 1, 1, 0.567, 1, 1, 1)
    assert run.remark(row) == "loss 1.23 · entropy 0.57"
    run.figures.append(Figures(1, 0.25, 3.0))
    run.detector.collapsed = True
    assert run.remark(row) == "loss 1.23 · entropy 0.57 · agreement 0.25 · COLLAPSED"
