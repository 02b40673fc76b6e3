"""Training of the head: checkpoints, progress, finished heads."""

from pathlib import Path
from typing import Any

import pytest
from two_dumps import LOOP, compute

from stego_core.head import training
from stego_core.head.training import HeadCurve, TrainingState
from tasks.engine.progress import Event, listening
from tasks.features.rows import FeatureRows
from tasks.head import stage as head
from tasks.neighbors import stage as neighbors
from tasks.options import (
    HeadOptions,
    NeighborsOptions,
)
from tasks.workspace import layout


@pytest.mark.parametrize("recipe", ["mean-shift", "stego"])
def test_resumed_training_ends_with_the_same_bytes(
    rows: FeatureRows, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    options = NeighborsOptions(k=6)
    for dump in rows.dumps:
        if stage := neighbors.plan(rows, dump, options, "cpu"):
            compute(stage).finish(0.0, 1)
    key = neighbors.neighbors_key(rows, options)
    monkeypatch.setattr(head, "CHECKPOINT_STEPS", 4)
    planned = head.plan(rows, key, HeadOptions(recipe=recipe, steps=10, batch=4), LOOP)
    digest = compute(planned).finish_single(0.0, 1)["digest"]
    place = Path(rows.workspace.storage.uri) / planned.folder.path
    for name in ("head.safetensors", "manifest.json", "records/000000.json"):
        (place / name).unlink()
    data = head.training_set(rows, key, recipe, 1024)
    stored = head.checkpoint(planned.work)
    recipe = head.recipe_of(planned.work.options, "float32")
    state, curve = head.started(planned.work, recipe, data, stored)
    assert (state.step, len(curve)) == (8, 8)
    assert compute(planned).finish_single(0.0, 1)["digest"] == digest


def test_a_finished_head_is_not_trained_again(rows: FeatureRows) -> None:
    key, options = neighbors.neighbors_key(rows, NeighborsOptions(k=6)), HeadOptions(steps=3)
    compute(head.plan(rows, key, options, LOOP)).finish_single(0.0, 1)
    assert head.plan(rows, key, options, LOOP) is None


@pytest.mark.long
class TestShorter:
    """Heads of fewer steps come from the checkpoints of a longer training."""

    @pytest.fixture
    def key(self, rows: FeatureRows) -> str:
        options = NeighborsOptions(k=6)
        for dump in rows.dumps:
            if stage := neighbors.plan(rows, dump, options, "cpu"):
                compute(stage).finish(0.0, 1)
        return neighbors.neighbors_key(rows, options)

    @pytest.fixture
    def trained(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Numbers of the steps that are trained from now on."""
        steps: list[int] = []
        train_step = training.train_step

        def counted(state: TrainingState, *rest: Any) -> HeadCurve:
            steps.append(state.step)
            return train_step(state, *rest)

        monkeypatch.setattr(training, "train_step", counted)
        return steps

    def files(self, rows: FeatureRows, key: str, options: HeadOptions) -> dict[str, Any]:
        """Head, curve, and what the manifest and the record say, without times."""
        folder = rows.workspace.folder(layout.head(head.head_key(rows, key, options)))
        place = Path(rows.workspace.storage.uri) / folder.path
        manifest = folder.manifest()
        for changing in ("seconds", "created"):
            manifest.pop(changing, None)
        named = (layout.HEAD_FILE, layout.CURVE_FILE)
        return {**{name: (place / name).read_bytes() for name in named}, "manifest": manifest}

    @pytest.mark.parametrize("recipe", ["mean-shift", "stego"])
    def test_are_those_of_trainings_of_their_own(
        self, rows: FeatureRows, key: str, trained: list[int], recipe: str
    ) -> None:
        steps, lengths = {"recipe": recipe, "batch": 4, "seed": 3}, (3, 7, 10)
        each = [HeadOptions(steps=length, **steps) for length in lengths]
        apart = []
        for options in each:
            compute(head.plan(rows, key, options, LOOP)).finish_single(0.0, 1)
            apart.append(self.files(rows, key, options))
            rows.workspace.folder(layout.head(head.head_key(rows, key, options))).clear()
        assert len(trained) == sum(lengths)
        trained.clear()
        longer: list[str] = []
        for number in (2, 1, 0):
            planned = head.plan(rows, key, each[number], LOOP, lengths[:number], longer)
            compute(planned).finish_single(0.0, 1)
            longer.append(head.head_key(rows, key, each[number]))
        assert trained == list(range(10))
        assert [self.files(rows, key, options) for options in each] == apart

    def test_go_on_from_the_last_checkpoint_before_them(
        self, rows: FeatureRows, key: str, trained: list[int]
    ) -> None:
        steps = {"batch": 4, "seed": 5}
        long, short = HeadOptions(steps=9, **steps), HeadOptions(steps=6, **steps)
        compute(head.plan(rows, key, long, LOOP, (4, 8))).finish_single(0.0, 1)
        trained.clear()
        longer = [head.head_key(rows, key, long)]
        compute(head.plan(rows, key, short, LOOP, (5,), longer)).finish_single(0.0, 1)
        assert trained == [4, 5]


def test_progress_is_reported_while_it_trains_and_at_its_end(rows: FeatureRows) -> None:
    key = neighbors.neighbors_key(rows, NeighborsOptions(k=6))
    planned = head.plan(rows, key, HeadOptions(steps=41, batch=2), LOOP)
    heard: list[Event] = []
    with listening(heard.append):
        compute(planned)
    assert [event.done for event in heard] == [20, 40, 41]
    assert {event.title for event in heard} == {planned.title}
