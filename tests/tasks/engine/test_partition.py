"""A partition through outages: what is on record stays; it ends where nothing moves any more."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from stego_core.errors import CapacityError, InputError, OutageError
from tasks.engine import partition as module
from tasks.engine import progress
from tasks.engine.partition import VAIN_TRIES, compute_partition, progressing
from tasks.engine.stage import Partition, Stage
from tasks.options import ComputeOptions
from tasks.storage.storage import Storage
from tasks.workspace.ledger import Folder, Record

ROWS = 10
LOOP = ComputeOptions(executor="loop")


@pytest.fixture
def folder() -> Folder:
    return Folder(Storage.at(f"memory://{uuid4().hex}"), "features/k")


def record(shard: int, **more: Any) -> Record:
    return Record(shard, (shard * ROWS, (shard + 1) * ROWS), 1, "0" * 32, **more)


class Work:
    """What a stage would send to workers."""

    def steps(self) -> Sequence[Any]:
        return []


@dataclass
class Script:
    """An executor that computes some shards on each try, then raises.

    Attributes:
        folder: where it puts shards on record.
        tries: for each try, how many shards it computes before it raises, and what.
        asked: the shards each try was given.
        waits: seconds slept between tries.
    """

    folder: Folder
    tries: list[tuple[int, Exception | None]]
    asked: list[list[int]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def map(self, steps: Sequence[Any], shards: Sequence[int], title: str) -> Iterator[Record]:
        self.asked.append(list(shards))
        count, error = self.tries.pop(0) if self.tries else (len(shards), None)
        for shard in shards[:count]:
            self.folder.record(record(shard))
            yield record(shard)
        if error is not None:
            raise error


@pytest.fixture
def scripted(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Script]:
    def make(*tries: tuple[int, Exception | None]) -> Script:
        script = Script(folder, list(tries))

        @contextmanager
        def executor(_: ComputeOptions) -> Iterator[Script]:
            yield script

        monkeypatch.setattr(module, "executor", executor)
        monkeypatch.setattr(module.time, "sleep", script.waits.append)
        return script

    return make


def compute(folder: Folder, shards: Sequence[int] = range(6)) -> dict[str, Any]:
    return compute_partition.fn("features day", Work(), folder, Partition(3, tuple(shards)), LOOP)


AWAY = OutageError("the scheduler went away")


class TestOutages:
    def test_what_is_on_record_is_not_computed_again(
        self, folder: Folder, scripted: Callable[..., Script]
    ) -> None:
        script = scripted((2, AWAY), (3, AWAY))
        assert compute(folder) == {"partition": 3, "shards": 6, "rows": 60}
        assert script.asked == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [5]]
        assert folder.missing(6) == []

    def test_shards_that_others_recorded_meanwhile_are_left_out(
        self, folder: Folder, scripted: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = scripted((0, AWAY))
        # By a worker that had not heard of the outage.
        monkeypatch.setattr(module.time, "sleep", lambda _: folder.record(record(4)))
        assert compute(folder)["shards"] == 5
        assert script.asked[1] == [0, 1, 2, 3, 5]

    def test_any_number_of_outages_with_progress_between_them(
        self, folder: Folder, scripted: Callable[..., Script]
    ) -> None:
        script = scripted(*[(1, AWAY)] * 12)
        assert compute(folder, range(12)) == {"partition": 3, "shards": 12, "rows": 120}
        assert len(script.asked) == 12
        assert set(script.waits) == {1}

    def test_tries_without_progress_end_it(
        self, folder: Folder, scripted: Callable[..., Script]
    ) -> None:
        script = scripted(*[(0, OutageError("away"))] * 10)
        with pytest.raises(OutageError, match="away"):
            compute(folder)
        assert len(script.asked) == VAIN_TRIES + 1
        assert script.waits == [1, 2]  # each a little longer

    def test_progress_starts_the_count_anew(
        self, folder: Folder, scripted: Callable[..., Script]
    ) -> None:
        script = scripted((0, AWAY), (0, AWAY), (1, AWAY), (0, AWAY), (0, AWAY))
        with pytest.raises(OutageError):
            compute(folder)
        assert [len(shards) for shards in script.asked] == [6, 6, 6, 5, 5]
        assert folder.recorded() == {0}

    def test_each_is_a_warning_that_says_where(
        self,
        folder: Folder,
        scripted: Callable[..., Script],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        scripted((2, AWAY), (0, AWAY))
        with caplog.at_level(logging.WARNING):
            compute(folder)
        lines = [line for line in caplog.messages if line.startswith("outage")]
        assert lines == [
            f'outage, trying again stage="features day" partition=3 try={number} '
            'cause="the scheduler went away"'
            for number in (1, 2)
        ]


class TestOtherErrors:
    @pytest.mark.parametrize(
        "error", [InputError("labels do not fit"), CapacityError("memory"), ValueError("a bug")]
    )
    def test_are_raised_at_once(
        self, folder: Folder, scripted: Callable[..., Script], error: Exception
    ) -> None:
        script = scripted((2, error))
        with pytest.raises(type(error), match=str(error)):
            compute(folder)
        assert len(script.asked) == 1
        assert script.waits == []
        assert folder.recorded() == {0, 1}


class TestTriedAgain:
    def test_by_prefect_what_is_on_record_is_left_out(
        self, folder: Folder, scripted: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = scripted()
        monkeypatch.setattr(module, "task_run", SimpleNamespace(run_count=2))
        for shard in (0, 1, 4):
            folder.record(record(shard))
        assert compute(folder)["shards"] == 3
        assert script.asked == [[2, 3, 5]]

    def test_where_all_are_on_record_no_executor_is_asked(
        self, folder: Folder, scripted: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = scripted()
        monkeypatch.setattr(module, "task_run", SimpleNamespace(run_count=2))
        for shard in range(6):
            folder.record(record(shard))
        assert compute(folder) == {"partition": 3, "shards": 0, "rows": 0}
        assert script.asked == []

    def test_records_are_not_listed_before_something_went_wrong(
        self, folder: Folder, scripted: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Hundreds of partitions would each list the records of all."""
        monkeypatch.setattr(Folder, "recorded", None)
        scripted()
        assert compute(folder)["shards"] == 6

    def test_shards_of_other_partitions_are_not_touched(
        self, folder: Folder, scripted: Callable[..., Script]
    ) -> None:
        script = scripted()
        compute(folder, (8, 9))
        assert script.asked == [[8, 9]]
        assert folder.recorded() == {8, 9}


class TestProgress:
    def test_rows_are_counted_once_through_outages(
        self, folder: Folder, scripted: Callable[..., Script]
    ) -> None:
        scripted((2, AWAY), (1, AWAY))
        stage = Stage(folder, "features day", "images", 60, 6, Work())
        heard: list[progress.Event] = []
        with progress.listening(heard.append), progressing(stage, stage.partitions()):
            compute(folder)
        assert [event.done for event in heard][-1] == 60
        assert max(event.done for event in heard) == 60
        counted = [event.done for event in heard]
        assert counted == sorted(counted)
        assert heard[-1].finished

    def test_what_an_outage_left_uncounted_is_counted_at_the_end(
        self, folder: Folder, scripted: Callable[..., Script]
    ) -> None:
        scripted((0, AWAY))
        stage = Stage(folder, "features day", "images", 60, 6, Work())
        heard: list[progress.Event] = []
        with progress.listening(heard.append), progressing(stage, stage.partitions()):
            folder.record(record(0))  # by a worker whose answer never came
            compute(folder)
            assert heard[-1].done == 50
        assert heard[-1].done == 60
