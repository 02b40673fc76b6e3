"""What is remembered of a workspace ends with the run: workers outlive workspaces."""

import threading
from uuid import uuid4

import pytest

from tasks.engine.prefetch import ahead
from tasks.engine.worker import Remote
from tasks.storage import run_cache, s3
from tasks.storage.storage import Storage
from tasks.storage.threads import ContextThreadPool, context_thread
from tasks.workspace import arrays
from tasks.workspace.arrays import Layout


def rows_of(storage: Storage) -> int:
    return int(arrays.open_array(storage, "f/k.zarr", "codes").shape[0])


def made_with(rows: int, place: str) -> Storage:
    """A workspace at a place where there was another one."""
    storage = Storage.at(place)
    for file in storage.files() if storage.exists("") else []:
        storage.remove(file.path)
    arrays.create(storage, "f/k.zarr", {"codes": Layout((rows, 2), "float32", 4)})
    return storage


def test_a_worker_sees_the_workspace_of_its_own_run() -> None:
    place = f"memory://{uuid4().hex}/ws"
    first = Remote(rows_of, s3.Service(), "first")
    assert first(made_with(4, place)) == 4
    storage = made_with(8, place)
    assert first(storage) == 4  # asked for once in a run: nothing of it changes meanwhile
    assert Remote(rows_of, s3.Service(), "second")(storage) == 8


def test_once_per_run_and_arguments() -> None:
    asked: list[tuple[int, str]] = []

    @run_cache.remembered(8)
    def ask(number: int, name: str = "") -> int:
        asked.append((number, name))
        return number

    for run in ("one", "two", "one"):
        with run_cache.during(run):
            assert (ask(1), ask(1), ask(2, name="b")) == (1, 1, 2)
    assert asked == [(1, ""), (2, "b")] * 2


def test_what_was_raised_is_not_remembered() -> None:
    chances = iter([False, True])

    @run_cache.remembered(8)
    def try_once() -> str:
        if next(chances):
            return "there"
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        try_once()
    assert try_once() == "there"


class TestThreads:
    def test_runs_that_end_in_another_order_than_they_began(self) -> None:
        """The first run ends while the second one goes on, which keeps its own store and name."""
        outside = run_cache.current_run()
        begun, ended = threading.Event(), threading.Event()
        seen: list[tuple[str | None, str]] = []

        def second() -> None:
            with s3.connected(s3.Service("http://second")), run_cache.during("second"):
                begun.set()
                ended.wait()
                seen.append((s3.current_service().endpoint, run_cache.current_run()))
            seen.append((s3.current_service().endpoint, run_cache.current_run()))

        with s3.connected(s3.Service("http://first")), run_cache.during("first"):
            thread = threading.Thread(target=second)
            thread.start()
            begun.wait()
            seen.append((s3.current_service().endpoint, run_cache.current_run()))
        seen.append((s3.current_service().endpoint, run_cache.current_run()))
        ended.set()
        thread.join()
        assert seen == [
            ("http://first", "first"),
            (None, outside),
            ("http://second", "second"),
            (None, outside),
        ]

    def test_pools_and_threads_work_for_the_run_that_made_them(self) -> None:
        seen: list[str] = []

        def look(_: int = 0) -> None:
            seen.append(run_cache.current_run())

        with run_cache.during("first"), ContextThreadPool(2) as pool:
            list(pool.map(look, range(3)))
            thread = context_thread(look, "look")
            thread.start()
            thread.join()
            list(ahead([1], look, 1))
        assert seen == ["first"] * 5

    def test_a_renewed_run_is_another_one_in_all_of_its_threads(self) -> None:
        outside = run_cache.current_run()
        with run_cache.during("before"), ContextThreadPool(1) as pool:
            pool.submit(run_cache.renew, "after").result()
            assert run_cache.current_run() == "after"
        assert run_cache.current_run() == outside


def test_what_one_stage_needs_is_let_go_when_another_one_begins() -> None:
    reads: list[int] = []

    @run_cache.remembered(1, stage_only=True)
    def read(number: int) -> int:
        reads.append(number)
        return number

    for title in ("k-means", "k-means", "masks", "k-means"):
        Remote(read, s3.Service(), "run", stage=title)(1)
    assert reads == [1, 1, 1]
