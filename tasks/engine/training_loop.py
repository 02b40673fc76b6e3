"""The loop of every training: batches made ahead, checkpoints, progress."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray
from torch import Tensor

from tasks.engine import checkpoints
from tasks.engine.prefetch import ahead
from tasks.engine.progress import Progress
from tasks.workspace.ledger import Folder

CHECKPOINTS_KEPT = 2  # the newest one, and one more should that be torn
BATCHES_AHEAD = 2  # batches that are made while the step before them computes

Batch = TypeVar("Batch")
Row = TypeVar("Row")


@dataclass(frozen=True)
class TrainingLoop:
    """How a training of so many steps is run."""

    folder: Folder  # of the stage; checkpoints go there
    title: str  # for progress
    steps: int  # in all
    checkpoint_steps: int = 200  # a checkpoint is stored after each so many, but not after the last
    report_steps: int = 20  # progress is reported after each so many, and after the last
    lasting: tuple[int, ...] = ()  # after each of these steps a checkpoint is stored and stays

    def run(
        self,
        first: int,
        make_batch: Callable[[int], Batch],
        train: Callable[[Iterable[Batch]], Iterator[Row]],
        tensors: Callable[[], Mapping[str, Tensor | NDArray[Any]]],
        note: Callable[[Row], str],
    ) -> None:
        """Run the remaining steps; a StoppedError if the run is asked to stop.

        Args:
            first: steps that are done already: 0, or those of the checkpoint.
            make_batch: the batch of a step (from 0), made ahead in other threads.
            train: learns from each batch in turn and yields a row of the curve after each.
            tensors: all that training needs to go on, for a checkpoint.
            note: a remark on a row, shown beside the progress.
        """
        progress, reported = Progress(self.title, self.steps, "steps", first), first
        pairs = ahead(range(first, self.steps), make_batch, BATCHES_AHEAD)
        for done, row in enumerate(train(batch for _, batch in pairs), first + 1):
            last = done == self.steps
            due = done % self.checkpoint_steps == 0 or done in self.lasting
            if due and not last:
                kept = CHECKPOINTS_KEPT, self.lasting
                checkpoints.save(self.folder, done, tensors(), *kept)
            if done % self.report_steps == 0 or last:
                progress.advance(done - reported, note(row))
                reported = done
