"""A training's loop: each batch once, checkpoints between, progress in between and at the end."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.engine import checkpoints, progress
from tasks.engine.training_loop import CHECKPOINTS_KEPT, TrainingLoop
from tasks.storage.storage import Storage
from tasks.workspace.ledger import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(Storage.at(str(tmp_path)), "heads/k")


class Training:
    """Sums up its batches, which are the numbers of their steps."""

    def __init__(self, total: int = 0) -> None:
        self.total, self.batches = total, list[int]()

    def learn(self, batches: Iterable[int]) -> Iterator[int]:
        for batch in batches:
            self.batches.append(batch)
            self.total += batch
            yield self.total

    def run(self, loop: TrainingLoop, first: int = 0) -> list[tuple[int, str]]:
        """Run the loop; returns how far it came and the note, for each report."""
        events: list[progress.Event] = []
        with progress.listening(events.append):
            loop.run(
                first,
                lambda step: step,
                self.learn,
                lambda: {"total": np.array(self.total)},
                lambda total: f"total {total}",
            )
        return [(event.done, event.note) for event in events if event.title == loop.title]


def stored_steps(folder: Folder) -> list[int]:
    return [int(name[:8]) for name in folder.storage.names(f"{folder.path}/checkpoints")]


def test_every_step_once_and_reports_in_between(folder: Folder) -> None:
    training = Training()
    told = training.run(TrainingLoop(folder, "loop a", 5, 100, 2))
    assert training.batches == [0, 1, 2, 3, 4]
    assert told == [(2, "total 1"), (4, "total 6"), (5, "total 10")]
    assert stored_steps(folder) == []


def test_a_checkpoint_goes_on_where_it_was_stored(folder: Folder) -> None:
    loop = TrainingLoop(folder, "loop b", 9, 4)
    Training().run(loop)
    newest = checkpoints.newest(folder, loop.title)
    assert newest is not None
    step, tensors = newest
    assert (step, int(tensors["total"])) == (8, sum(range(8)))
    again = Training(int(tensors["total"]))
    assert again.run(loop, step) == [(9, f"total {sum(range(9))}")]
    assert again.batches == [8]


@pytest.mark.parametrize(("steps", "stored"), [(3, [2]), (4, [2]), (5, [2, 4]), (9, [6, 8])])
def test_the_newest_ones_stay_and_none_is_stored_at_the_end(
    folder: Folder, steps: int, stored: list[int]
) -> None:
    Training().run(TrainingLoop(folder, "loop c", steps, 2))
    assert stored_steps(folder) == stored
    assert len(stored) <= CHECKPOINTS_KEPT


def test_some_stay_wherever_they_fall(folder: Folder) -> None:
    Training().run(TrainingLoop(folder, "loop e", 12, 2, lasting=(3, 4, 12)))
    assert stored_steps(folder) == [3, 4, 8, 10]
    _, tensors = checkpoints.newest(folder, "loop e", most=3) or (0, {})
    assert int(tensors["total"]) == sum(range(3))
    assert checkpoints.newest(folder, "loop e", most=2) is None


def test_nothing_is_left_to_do(folder: Folder) -> None:
    training = Training()
    assert training.run(TrainingLoop(folder, "loop d", 3, 2), 3) == []
    assert training.batches == []
