"""Shards give the same results wherever they are computed, and errors arrive as themselves."""

import inspect
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from compute_steps import (
    LAST,
    Patient,
    Work,
    announce,
    die,
    give,
    offer_gpu,
    plain,
    process,
    refuse,
    slowly_give,
    take_gpu_away,
    threads_of_libraries,
    trip,
)
from distributed import LocalCluster

from stego_core.errors import CapacityError, ImageError, OptionError, OutageError
from tasks import options
from tasks.engine import compute, machine, progress, scheduler_connection, worker
from tasks.engine.compute import DaskExecutor, executor
from tasks.engine.machine import require_memory
from tasks.engine.steps import Executor, LoopExecutor, Step
from tasks.images import image_codecs
from tasks.options import ComputeOptions
from tasks.storage import s3, storage
from tasks.storage.threads import ContextThreadPool
from tasks.workspace import arrays, keys, ledger, tables, workspace

DASK = ComputeOptions(executor="dask", workers=2)
LOOP = ComputeOptions(executor="loop")


@pytest.fixture(scope="module")
def dask() -> Iterator[DaskExecutor]:
    """Two worker processes, the same ones for all tests here."""
    with executor(DASK) as made:
        assert isinstance(made, DaskExecutor)
        yield made


@pytest.fixture(params=["loop", "dask"])
def anywhere(request: pytest.FixtureRequest) -> Executor:
    if request.param == "loop":
        return LoopExecutor()
    found: Executor = request.getfixturevalue("dask")
    return found


class TestMap:
    def test_one_step(self, anywhere: Executor) -> None:
        results = anywhere.map([Step(Work(3).first)], range(9))
        assert sorted(results) == [0, 3, 6, 9, 12, 15, 18, 21, 24]

    def test_two_steps(self, anywhere: Executor) -> None:
        work = Work(10)
        results = anywhere.map([Step(work.first, gpu=True), Step(work.second)], [4, 0, 7])
        assert sorted(results) == [(0, 1), (4, 41), (7, 71)]

    def test_three_steps(self, anywhere: Executor) -> None:
        steps = [Step(Work(2).first), Step(Work(2).second), Step(Work(2).second)]
        with pytest.raises(TypeError):
            list(anywhere.map(steps, [1]))  # (1, 3) + 1: the third got what the second made

    def test_no_shards(self, anywhere: Executor) -> None:
        assert list(anywhere.map([Step(plain)], [])) == []

    def test_more_shards_than_fit_the_window(self, anywhere: Executor) -> None:
        assert sorted(anywhere.map([Step(plain)], range(50))) == list(range(50))

    def test_calls_of_every_kind(self, anywhere: Executor) -> None:
        for call in (plain, partial(give, 5), Work(1).first, lambda shard: shard):
            assert len(list(anywhere.map([Step(call)], [0, 1]))) == 2

    def test_again_with_the_same_steps(self, anywhere: Executor) -> None:
        for value in range(5):
            assert list(anywhere.map([Step(partial(give, value))], [0])) == [value]

    def test_two_at_once_do_not_mix(self, anywhere: Executor) -> None:
        ones = anywhere.map([Step(partial(give, 1))], range(6))
        twos = anywhere.map([Step(partial(give, 2))], range(6))
        assert list(zip(ones, twos, strict=True)) == [(1, 2)] * 6

    def test_from_several_threads(self, anywhere: Executor) -> None:
        def run(value: int) -> list[int]:
            return list(anywhere.map([Step(partial(give, value))], range(6)))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(run, range(4))) == [[value] * 6 for value in range(4)]

    def test_nothing_starts_before_it_is_asked_for(self, anywhere: Executor) -> None:
        drawn: list[int] = []

        def shards() -> Iterator[int]:
            for shard in range(40):
                drawn.append(shard)
                yield shard

        results = anywhere.map([Step(plain)], shards())  # type: ignore[arg-type]
        assert drawn == []
        next(results)
        assert len(drawn) <= 4  # twice the workers
        assert len(list(results)) == 39


class TestErrors:
    @pytest.mark.parametrize(
        "steps", [[Step(refuse)], [Step(refuse), Step(plain)], [Step(plain), Step(refuse)]]
    )
    def test_an_error_of_ours_arrives_as_itself(
        self, anywhere: Executor, steps: Sequence[Step]
    ) -> None:
        with pytest.raises(ImageError) as caught:
            list(anywhere.map(steps, range(5)))
        assert type(caught.value) is ImageError
        assert str(caught.value) == "shard 2: cannot be decoded: truncated"

    def test_a_bug_arrives_as_itself(self, anywhere: Executor) -> None:
        with pytest.raises(IndexError, match="list index out of range"):
            list(anywhere.map([Step(trip)], range(4)))

    def test_it_works_on_afterwards(self, anywhere: Executor) -> None:
        with pytest.raises(ImageError):
            list(anywhere.map([Step(refuse)], range(5)))
        assert sorted(anywhere.map([Step(plain)], range(5))) == list(range(5))


class TestDask:
    def test_works_in_other_processes(self, dask: DaskExecutor) -> None:
        pids = set(dask.map([Step(process)], range(8)))
        assert os.getpid() not in pids
        assert pids <= set(dask.client.run(os.getpid).values())

    def test_workers_have_one_thread(self, dask: DaskExecutor) -> None:
        assert set(dask.client.nthreads().values()) == {1}
        assert set(dask.map([Step(threads_of_libraries)], range(4))) == {"1"}

    def test_whatever_the_environment_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        with executor(DASK.model_copy(update={"workers": 1})) as made:
            assert list(made.map([Step(threads_of_libraries)], [0])) == ["1"]

    def test_results_come_as_they_complete(self, dask: DaskExecutor, tmp_path: Path) -> None:
        mark = tmp_path / "three-has-come"
        results = dask.map([Step(Patient(str(mark)).step)], [0, 3])
        assert next(results) == 3
        mark.touch()
        assert list(results) == [0]

    def test_work_for_a_gpu_runs_where_one_is(self, dask: DaskExecutor) -> None:
        chosen = next(iter(dask.client.scheduler_info(n_workers=-1)["workers"]))
        pid = dask.client.run(offer_gpu, workers=[chosen])[chosen]
        try:
            assert set(dask.map([Step(process, gpu=True)], range(8))) == {pid}
            work = [Step(plain, gpu=True), Step(process)]
            assert len(list(dask.map(work, range(8)))) == 8
        finally:
            dask.client.run(take_gpu_away, workers=[chosen])

    def test_an_existing_cluster_by_its_address(self, dask: DaskExecutor) -> None:
        address = dask.client.scheduler.address
        with executor(ComputeOptions(cluster=address)) as other:
            assert isinstance(other, DaskExecutor)
            assert other.client is not dask.client
            assert sorted(other.map([Step(Work(3).first)], range(4))) == [0, 3, 6, 9]
        assert sorted(dask.map([Step(plain)], range(3))) == [0, 1, 2]

    def test_runs_that_share_a_cluster_do_not_get_each_other_s_results(
        self, dask: DaskExecutor
    ) -> None:
        steps = [
            Step(partial(slowly_give, 1))
        ]  # one list, as two processes may have at one address
        mine = dask.map(steps, [0, 1, 2, 3])
        first = next(mine)
        steps[0] = Step(partial(slowly_give, 2))
        with executor(ComputeOptions(cluster=dask.client.scheduler.address)) as other:
            assert list(other.map(steps, [0, 1, 2, 3])) == [2, 2, 2, 2]
        assert [first, *mine] == [1, 1, 1, 1]

    def test_a_shard_that_kills_its_workers(self, dask: DaskExecutor) -> None:
        scheduler = dask.client.cluster.scheduler
        assert scheduler.allowed_failures == 3
        scheduler.allowed_failures = 0
        try:
            with pytest.raises(OutageError, match=r"dying: shard 0 killed the worker") as caught:
                list(dask.map([Step(die)], [0], "dying"))
            assert "fewer --workers" in str(caught.value)
        finally:
            scheduler.allowed_failures = 3
        dask.client.wait_for_workers(2, timeout=30)
        assert sorted(dask.map([Step(plain)], range(4))) == [0, 1, 2, 3]


class TestLoop:
    def test_in_the_shards_order(self) -> None:
        assert list(LoopExecutor().map([Step(plain)], [3, 1, 2])) == [3, 1, 2]

    def test_on_one_thread_and_only_while_computing(self) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(3)
        try:
            results = LoopExecutor().map([Step(lambda _: torch.get_num_threads())], [0, 1])
            assert next(results) == 1
            assert torch.get_num_threads() == 3
            results.close()  # type: ignore[attr-defined]
            with pytest.raises(ImageError):
                list(LoopExecutor().map([Step(refuse)], [2]))
            assert torch.get_num_threads() == 3
        finally:
            torch.set_num_threads(before)

    def test_loops_in_several_threads_take_turns(self) -> None:
        busy = threading.Lock()
        met: list[int] = []

        def alone(shard: int) -> int:
            if not busy.acquire(blocking=False):
                met.append(shard)
                return shard
            time.sleep(0.01)
            busy.release()
            return shard

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: list(LoopExecutor().map([Step(alone)], range(5))), range(4)))
        assert met == []


class TestExecutor:
    def test_nested_ones_are_the_same(self, dask: DaskExecutor) -> None:
        with executor(ComputeOptions(executor="dask", workers=2)) as inner:
            assert inner is dask
        assert sorted(dask.map([Step(plain)], range(3))) == [0, 1, 2]  # and it is still open

    def test_other_threads_of_the_run_share_it(self, dask: DaskExecutor) -> None:
        def which() -> Executor:
            with executor(DASK) as found:
                return found

        with ContextThreadPool(1) as pool:
            assert pool.submit(which).result() is dask

    def test_another_run_has_its_own(self) -> None:
        def which() -> Executor:
            with executor(LOOP) as found:
                return found

        with executor(LOOP) as ours, ThreadPoolExecutor(1) as pool:
            assert pool.submit(which).result() is not ours

    def test_other_options_have_their_own(self, dask: DaskExecutor) -> None:
        with executor(LOOP) as other:
            assert isinstance(other, LoopExecutor)

    def test_closed_ones_are_forgotten(self) -> None:
        with executor(LOOP) as first:
            pass
        with executor(LOOP) as second:
            assert second is not first
        assert LOOP not in compute._open.get()

    def test_an_error_inside_closes_it(self) -> None:
        with pytest.raises(ImageError), executor(LOOP):
            raise ImageError("x")
        assert LOOP not in compute._open.get()

    @pytest.mark.parametrize(
        "address",
        ["nonsense", "", "foo://host:1", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "tls://[::1]:9"],
    )
    def test_an_address_that_is_none(self, address: str) -> None:
        with (
            pytest.raises(OptionError, match=r"--cluster .* is no address of a Dask scheduler"),
            executor(ComputeOptions(cluster=address)),
        ):
            pass
        assert ComputeOptions(cluster=address) not in compute._open.get()

    def test_nobody_answers_for_too_long(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert scheduler_connection.CONNECT_SECONDS <= 10
        monkeypatch.setattr(scheduler_connection, "CONNECT_SECONDS", 0.2)
        monkeypatch.setattr(scheduler_connection, "PATIENCE_SECONDS", 1)
        with (
            pytest.raises(OutageError, match=r"answers at tcp://127\.0\.0\.1:9 "),
            executor(ComputeOptions(cluster="tcp://127.0.0.1:9")),
        ):
            pass
        told = [r.message for r in caplog.records if "waiting for the Dask scheduler" in r.message]
        assert told == ["waiting for the Dask scheduler at tcp://127.0.0.1:9 seconds=1"]

    def test_a_scheduler_that_comes_later_is_waited_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scheduler_connection, "CONNECT_SECONDS", 1)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        away = threading.Event()
        monkeypatch.setattr(
            scheduler_connection.stop, "check", away.set
        )  # called once it was found away
        with ThreadPoolExecutor(1) as pool:
            opened = pool.submit(_shards_at, f"tcp://127.0.0.1:{port}")
            assert away.wait(60)
            with LocalCluster(
                n_workers=1, processes=False, scheduler_port=port, dashboard_address=None
            ):
                assert opened.result(60) == [0, 1]


def _shards_at(address: str) -> list[int]:
    with executor(ComputeOptions(cluster=address)) as made:
        return sorted(made.map([Step(plain)], range(2)))


class TestProgress:
    def test_two_stages_of_one_title_are_told_apart(self, dask: DaskExecutor) -> None:
        told: dict[str, set[int]] = {"ours": set(), "theirs": set()}
        last = threading.Event()

        def hear(event: progress.Event) -> None:
            told[event.stage].add(event.done)
            if event.done == LAST:
                last.set()

        with progress.listening(hear):
            for name, shards in (("ours", [0, 1, 2]), ("theirs", [3, LAST])):
                with progress.within(name):
                    list(dask.map([Step(announce)], shards, "head"))
            assert last.wait(30)
        assert told == {"ours": {0, 1, 2}, "theirs": {3, LAST}}

    def test_of_two_clients_of_a_scheduler_each_hears_its_own_workers(
        self, dask: DaskExecutor
    ) -> None:
        address = dask.client.scheduler.address
        ours, theirs = DaskExecutor(address), DaskExecutor(address)
        heard: dict[str, list[Any]] = {"ours": [], "theirs": []}
        last = threading.Event()
        ours.client.subscribe_topic(ours.topic, heard["ours"].append)
        theirs.client.subscribe_topic(
            theirs.topic, lambda event: (heard["theirs"].append(event), last.set())
        )
        list(ours.map([Step(announce)], [1], "head"))
        list(theirs.map([Step(announce)], [2], "head"))
        assert last.wait(30)
        ours.close()
        theirs.close()
        assert {event["done"] for _, event in heard["theirs"]} == {2}
        assert {event["done"] for _, event in heard["ours"]} <= {1}


class TestDevice:
    def test_auto_is_what_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert machine.device("auto") == "cuda"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert machine.device("auto") == "cpu"

    def test_one_that_is_there(self) -> None:
        assert machine.device("cpu") == "cpu"

    @pytest.mark.parametrize(
        "choice", ["cuda:99", "nonsense", "", "mps:7", "hpu", "privateuseone", "meta"]
    )
    def test_one_that_is_not(self, choice: str) -> None:
        with pytest.raises(OptionError, match=f"device '{choice}' cannot be used") as caught:
            machine.device(choice)
        assert str(caught.value).endswith("; use --device cpu")
        assert "\n" not in str(caught.value)


def functions(*modules: ModuleType) -> list[Callable[..., Any]]:
    """Public functions and classes that these modules define."""
    return [
        member
        for module in modules
        for name, member in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or inspect.isclass(member))
        and member.__module__ == module.__name__
    ]


class TestPickling:
    """What is shipped to workers must survive plain pickle, without Dask's cleverer one."""

    @pytest.mark.parametrize(
        "member",
        functions(
            arrays, image_codecs, keys, ledger, machine, options, worker, storage, tables, workspace
        ),
        ids=lambda member: f"{member.__module__}.{member.__name__}",
    )
    def test_public_members(self, member: Callable[..., Any]) -> None:
        assert pickle.loads(pickle.dumps(member)) is member  # noqa: S301

    @pytest.mark.parametrize(
        "value",
        [
            storage.Storage("/ws"),
            workspace.Workspace(storage.Storage("s3://bucket/ws")),
            ledger.Folder(storage.Storage("/ws"), "heads/k"),
            ledger.Record(0, (0, 1), 2, "x", invalid={0: "why"}),
            arrays.Layout((2, 3), "float16", 1),
            image_codecs.Size(2, 3),
            Step(plain, gpu=True),
            worker.Remote(plain, s3.Service("http://store:9", "here", "me")),
            DASK,
            options.HeadOptions(),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_values(self, value: Any) -> None:
        assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301

    def test_a_bound_method_takes_its_object_along(self) -> None:
        assert pickle.loads(pickle.dumps(Work(3).first))(5) == 15  # noqa: S301


class TestMemory:
    def test_a_plan_that_cannot_fit_is_refused_with_both_numbers(self) -> None:
        with pytest.raises(
            CapacityError, match=r"masks needs about 1024\.0 GiB on each of 2 workers"
        ):
            require_memory("masks", 2**40, ComputeOptions(workers=2))

    def test_more_than_a_worker_may_hold(self) -> None:
        with pytest.raises(CapacityError, match=r"needs about 2\.0 GiB on each worker, and --mem"):
            require_memory("masks", 2**31, ComputeOptions(workers=1, memory_limit="1GiB"))

    def test_what_fits_and_what_is_elsewhere_passes(self) -> None:
        require_memory("masks", 2**20, ComputeOptions(workers=2))
        require_memory("masks", 2**40, ComputeOptions(cluster="tcp://10.0.0.1:8786"))
