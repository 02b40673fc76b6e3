"""A stage in the thread that asks: its progress is told, and what is finished stays."""

from dataclasses import dataclass

import pytest

from stego_core.errors import StoppedError
from tasks.engine.in_this_thread import compute_here
from tasks.engine.stage import Stage
from tasks.engine.steps import CpuWork
from tasks.workspace.ledger import Folder, Record
from tasks.workspace.workspace import Workspace


@dataclass(frozen=True)
class Counting(CpuWork):
    """Records two rows a shard, of four shards."""

    folder: Folder

    def shard(self, shard: int) -> Record:
        record = Record(shard, (2 * shard, 2 * shard + 2), 1, "x", {})
        self.folder.record(record)
        return record


@pytest.fixture
def stage(tmp_path: object) -> Stage:
    folder = Workspace.create(f"{tmp_path}/ws").folder("sharpness", "k")
    folder.plan({})
    return Stage(folder, "counting", "images", 8, 4, Counting(folder), {"stage": "counting"})


def test_progress_is_told_and_the_stage_is_finished(stage: Stage) -> None:
    told: list[float | None] = []
    compute_here(stage, told.append)
    assert told == [None, 0.25, 0.5, 0.75, 1.0]
    assert stage.folder.manifest()["stage"] == "counting"


def test_stopped_it_goes_on_where_it_was(stage: Stage) -> None:
    def stop_at_half(share: float | None) -> None:
        if share == 0.5:
            raise StoppedError("enough")

    with pytest.raises(StoppedError, match="enough"):
        compute_here(stage, stop_at_half)
    assert not stage.folder.finished
    told: list[float | None] = []
    compute_here(stage, told.append)
    assert told == [None, 0.75, 1.0]
    assert stage.folder.finished
