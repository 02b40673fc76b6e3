"""Training of the head: checkpoints, progress, finished heads."""

from pathlib import Path

import pytest
from two_dumps import LOOP, compute

from tasks.engine.progress import Event, listening
from tasks.features.rows import FeatureRows
from tasks.head import stage as head
from tasks.neighbors import stage as neighbors
from tasks.options import (
    HeadOptions,
    NeighborsOptions,
)


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
    state, curve = head.resumed(planned.work, head.recipe_of(planned.work.options), data)
    assert (state.step, len(curve)) == (8, 8)
    assert compute(planned).finish_single(0.0, 1)["digest"] == digest


def test_a_finished_head_is_not_trained_again(rows: FeatureRows) -> None:
    key, options = neighbors.neighbors_key(rows, NeighborsOptions(k=6)), HeadOptions(steps=3)
    compute(head.plan(rows, key, options, LOOP)).finish_single(0.0, 1)
    assert head.plan(rows, key, options, LOOP) is None


def test_progress_is_reported_while_it_trains_and_at_its_end(rows: FeatureRows) -> None:
    key = neighbors.neighbors_key(rows, NeighborsOptions(k=6))
    planned = head.plan(rows, key, HeadOptions(steps=41, batch=2), LOOP)
    heard: list[Event] = []
    with listening(heard.append):
        compute(planned)
    assert [event.done for event in heard] == [20, 40, 41]
    assert {event.title for event in heard} == {planned.title}
