"""One writer at a time: who waits gets a turn, who died makes way, who was away notices."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psutil
import pytest

from stego_core.errors import OutageError, WorkspaceError
from tasks.storage.storage import Storage
from tasks.workspace import lease
from tasks.workspace.layout import WRITERS
from tasks.workspace.workspace import Workspace

FOREIGN = {
    "host": "elsewhere",
    "boot": "b",
    "pids": "p",
    "pid": 17,
    "since": "yesterday",
    "held": True,
}
"""A lease's content, of a process on another machine."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules, at a hundredth of the time."""
    for name, seconds in (("LOOK", 0.02), ("RENEWAL", 0.05), ("EXPIRY", 0.5), ("CONTEST", 0.3)):
        monkeypatch.setattr(lease, f"{name}_SECONDS", seconds)


def leases(storage: Storage) -> dict[str, dict[str, Any]]:
    """All leases by the name of their file; a file that is just being renewed is none."""
    names = [name for name in storage.names(WRITERS) if not name.startswith(".")]
    contents = storage.read_many([f"{WRITERS}/{name}" for name in names])
    return {n: json.loads(c) for n, c in zip(names, contents, strict=True) if c}


def put(storage: Storage, content: dict[str, Any], name: str = "other.json") -> None:
    storage.write(f"{WRITERS}/{name}", json.dumps(content).encode())


def enter(storage: Storage, wait_seconds: float = 0.0) -> None:
    with lease.writing(storage, wait_seconds):
        pass


@contextmanager
def held_elsewhere(storage: Storage) -> Iterator[None]:
    """Another thread is the writer until the end of the block."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with lease.writing(storage):
            inside.set()
            leave.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(60)
    try:
        yield
    finally:
        leave.set()
        holder.join()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestOneWriter:
    def test_has_a_lease_that_names_it_and_leaves_nothing_behind(self, storage: Storage) -> None:
        with lease.writing(storage):
            [content] = leases(storage).values()
            assert (content["pid"], content["host"]) == (os.getpid(), socket.gethostname())
        assert storage.names(WRITERS) == []

    def test_a_second_one_that_does_not_wait_is_told_whom_it_met(self, storage: Storage) -> None:
        with held_elsewhere(storage):
            before = set(leases(storage))
            with pytest.raises(WorkspaceError) as refused, lease.writing(storage):
                pytest.fail("two writers")
            assert set(leases(storage)) == before
        said = str(refused.value)
        assert f"process {os.getpid()} on {socket.gethostname()} since 2" in said
        assert "--wait SECONDS" in said
        assert "\n" not in said

    def test_who_writes_is_told_to_those_who_ask(self, storage: Storage) -> None:
        assert lease.writer(storage) is None
        with lease.writing(storage):
            assert f"process {os.getpid()} on " in str(lease.writer(storage))
            assert len([name for name in storage.names("writers") if name.endswith("json")]) == 1
        assert lease.writer(storage) is None

    def test_a_second_one_waits_and_gets_it(self, storage: Storage) -> None:
        order = []

        def second() -> None:
            with lease.writing(storage, 20):
                order.append("second")

        with held_elsewhere(storage):
            waiting = threading.Thread(target=second)
            waiting.start()
            time.sleep(0.2)
            order.append("first")
        waiting.join()
        assert order == ["first", "second"]

    def test_waiting_is_announced_once_and_ends_when_said(
        self, storage: Storage, caplog: pytest.LogCaptureFixture
    ) -> None:
        with held_elsewhere(storage):
            begun = time.monotonic()
            with pytest.raises(WorkspaceError, match="is being written by"):
                enter(storage, 0.3)
            assert 0.3 <= time.monotonic() - begun < 3
        lines = [line for line in caplog.messages if line.startswith("waiting for process")]
        assert len(lines) == 1

    def test_a_block_inside_another_takes_part_in_it(self, storage: Storage) -> None:
        with lease.writing(storage):
            outer = set(leases(storage))
            with lease.writing(storage):
                assert set(leases(storage)) == outer
            assert set(leases(storage)) == outer
        assert not leases(storage)

    def test_two_workspaces_have_a_lease_each(self, storage: Storage) -> None:
        other = Storage(f"{storage.uri}-2")
        with lease.writing(storage), lease.writing(other):
            assert len(leases(storage)) == len(leases(other)) == 1

    def test_what_goes_wrong_inside_ends_the_lease(self, storage: Storage) -> None:
        with pytest.raises(ZeroDivisionError), lease.writing(storage):
            _ = 1 / 0
        assert not leases(storage)
        with lease.writing(storage):
            pass

    def test_whoever_is_interrupted_leaves_no_lease(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(_: float) -> None:
            assert len(leases(storage)) == 2
            raise KeyboardInterrupt

        clock = SimpleNamespace(sleep=interrupted, monotonic=time.monotonic, strftime=time.strftime)
        monkeypatch.setattr(lease, "time", clock)
        monkeypatch.setattr(lease.Lease, "write", together_with(storage, "zz.json"))
        with pytest.raises(KeyboardInterrupt):
            enter(storage, 9)
        assert set(leases(storage)) == {"zz.json"}

    def test_garbage_among_the_leases_does_no_harm(self, storage: Storage) -> None:
        garbage = {"a.json": b"{", "b.json": b"[1]", "c.json": b"null", "notes.txt": b"{}"}
        garbage |= {"d.json": b"\xff\xfe", "old/e.json": json.dumps(FOREIGN).encode()}
        for name, content in garbage.items():
            storage.write(f"{WRITERS}/{name}", content)
        with lease.writing(storage):
            pass
        for name, content in garbage.items():
            assert storage.read(f"{WRITERS}/{name}") == content


def together_with(storage: Storage, name: str) -> Callable[..., None]:
    """`Lease.write` with somebody on another machine who does the same at the same moment."""
    write, once = lease.Lease.write, [name]

    def both(self: lease.Lease, beat: int) -> None:
        if once:
            put(storage, {**FOREIGN, "held": False}, once.pop())
        write(self, beat)

    return both


class TestNewcomers:
    def test_of_two_at_once_the_first_by_name_stays(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease.Lease, "write", together_with(storage, "zz.json"))
        with ThreadPoolExecutor(1) as pool:
            entering = pool.submit(enter, storage, 20)
            until(lambda: len(leases(storage)) == 2)
            time.sleep(0.1)
            assert not entering.done()
            storage.remove(f"{WRITERS}/zz.json")  # which the other one does
            entering.result()

    def test_of_two_at_once_the_second_steps_back(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease.Lease, "write", together_with(storage, "00.json"))
        with ThreadPoolExecutor(1) as pool:
            entering = pool.submit(enter, storage, 0.2)
            until(lambda: set(leases(storage)) == {"00.json"})
            time.sleep(0.1)
            assert set(leases(storage)) == {"00.json"}
            with pytest.raises(WorkspaceError, match="on elsewhere"):
                entering.result()

    def test_whoever_waits_writes_no_lease(self, storage: Storage) -> None:
        put(storage, FOREIGN)
        seen = set()
        with ThreadPoolExecutor(1) as pool:
            trying = pool.submit(enter, storage, 0.2)
            while not trying.done():
                seen |= set(leases(storage))
            with pytest.raises(WorkspaceError):
                trying.result()
        assert seen == {"other.json"}


HOLD = """
import sys, time
from tasks.workspace import lease
from tasks.workspace.layout import WRITERS
from tasks.storage.storage import Storage
with lease.writing(Storage(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


class TestExpiredLeases:
    def test_a_killed_process_of_this_machine_makes_way_at_once(self, local: Storage) -> None:
        process = subprocess.Popen([sys.executable, "-c", HOLD, local.uri], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process:
            assert process.stdout.readline() == b"in\n"
            [(name, content)] = leases(local).items()
            assert content["pid"] == process.pid
            with pytest.raises(WorkspaceError, match=f"process {process.pid} on"):
                enter(local)
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
            with lease.writing(local):  # its parent has not asked for its exit code yet
                assert name not in leases(local)
        put(local, content, name)
        with lease.writing(local):
            assert name not in leases(local)

    def test_another_process_of_the_same_id_is_another(self, storage: Storage) -> None:
        with lease.writing(storage):
            [content] = leases(storage).values()
        put(storage, {**content, "started": content["started"] - 60})
        with lease.writing(storage):
            assert "other.json" not in leases(storage)

    def test_setting_the_clock_kills_nobody(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        boot = psutil.boot_time()
        with held_elsewhere(storage):
            monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)
            assert psutil.boot_time() == boot + 3600
            with pytest.raises(WorkspaceError, match="is being written"):
                enter(storage)

    def test_a_foreign_one_whose_beat_stands_still_makes_way(self, storage: Storage) -> None:
        put(storage, {**FOREIGN, "beat": 4})
        with pytest.raises(WorkspaceError, match="process 17 on elsewhere since yesterday"):
            enter(storage)
        assert "other.json" in leases(storage)  # it was not watched for long enough
        begun = time.monotonic()
        with lease.writing(storage, 20):
            assert time.monotonic() - begun >= lease.EXPIRY_SECONDS
            assert "other.json" not in leases(storage)

    def test_one_left_by_a_process_that_still_runs_makes_way(self, storage: Storage) -> None:
        with lease.writing(storage):
            [content] = leases(storage).values()
        put(storage, content)  # as when the store was away at the end of the block
        with pytest.raises(WorkspaceError):
            enter(storage)
        with lease.writing(storage, 20):
            assert "other.json" not in leases(storage)

    def test_a_foreign_beat_that_goes_on_keeps_the_workspace(self, storage: Storage) -> None:
        ended = threading.Event()

        def beating() -> None:
            beat = 0
            while not ended.wait(0.05):
                beat += 1
                put(storage, {**FOREIGN, "beat": beat})

        put(storage, {**FOREIGN, "beat": 0})
        thread = threading.Thread(target=beating)
        thread.start()
        with pytest.raises(WorkspaceError, match="on elsewhere"):
            enter(storage, 2 * lease.EXPIRY_SECONDS)
        ended.set()
        thread.join()
        assert set(leases(storage)) == {"other.json"}


class TestRenewal:
    def test_the_beat_goes_on_inside_and_ends_with_the_block(self, storage: Storage) -> None:
        with lease.writing(storage):
            [(name, first)] = leases(storage).items()
            until(lambda: leases(storage)[name]["beat"] >= first["beat"] + 3)
            same = {key: value for key, value in leases(storage)[name].items() if key != "beat"}
            assert same == {key: value for key, value in first.items() if key != "beat"}
        time.sleep(3 * lease.RENEWAL_SECONDS)
        assert not leases(storage)

    def test_a_renewed_lease_does_not_expire(self, storage: Storage) -> None:
        with held_elsewhere(storage), pytest.raises(WorkspaceError):
            enter(storage, 2 * lease.EXPIRY_SECONDS)

    def test_a_store_that_is_away_for_a_beat_is_reached_by_the_next(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        write, failed = Storage.write, threading.Event()

        def fail_once(self: Storage, path: str, content: bytes) -> None:
            if not failed.is_set():
                failed.set()
                raise OutageError("the store is away")
            write(self, path, content)

        with caplog.at_level(logging.WARNING), lease.writing(storage):
            [(name, first)] = leases(storage).items()
            monkeypatch.setattr(Storage, "write", fail_once)
            assert failed.wait(5)
            until(lambda: leases(storage)[name]["beat"] > first["beat"])
            Workspace(storage).update_last_run(dumps=[])
        [line] = [line for line in caplog.messages if line.startswith("writer lease not renewed")]
        assert 'cause="the store is away"' in line


class TestTakenOver:
    def test_nothing_is_settled_after_another_run_took_over(self, storage: Storage) -> None:
        workspace = Workspace(storage)
        with lease.writing(storage):
            workspace.update_last_run(dumps=["mine"])
            [name] = leases(storage)
            storage.remove(f"{WRITERS}/{name}")
            put(storage, {**FOREIGN, "beat": 1})
            for _ in range(2):
                with pytest.raises(WorkspaceError, match=r"another run took .* over while"):
                    workspace.update_last_run(dumps=["late"])
            time.sleep(3 * lease.RENEWAL_SECONDS)
            assert set(leases(storage)) == {"other.json"}  # it is not renewed either
        assert workspace.last_run() == {"dumps": ["mine"]}
        assert set(leases(storage)) == {"other.json"}

    def test_a_process_that_slept_too_long_notices(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "RENEWAL_SECONDS", 30)  # asleep
        workspace = Workspace(storage)

        def take() -> None:
            with lease.writing(storage, 20):
                workspace.update_last_run(dumps=["theirs"])

        with lease.writing(storage):
            other = threading.Thread(target=take)
            other.start()
            other.join()
            with pytest.raises(WorkspaceError, match="let it end, then run the same command"):
                workspace.update_last_run(dumps=["late"])
        assert workspace.last_run() == {"dumps": ["theirs"]}

    def test_who_holds_nothing_is_not_asked(self, storage: Storage) -> None:
        put(storage, FOREIGN)
        Workspace(storage).update_last_run(dumps=[])
        assert Workspace(storage).last_run() == {"dumps": []}


CONTEND = """
import multiprocessing, os, sys, time
from pathlib import Path
from tasks.workspace import lease
from tasks.workspace.layout import WRITERS
from tasks.storage.storage import Storage

lease.LOOK_SECONDS, lease.RENEWAL_SECONDS, lease.EXPIRY_SECONDS = 0.02, 0.2, 20
folder, processes, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def contend(number, start):
    start.wait()
    for turn in range(rounds):
        with lease.writing(Storage(str(folder / "ws")), 60):
            with open(folder / "inside", "x"):  # fails where another one is inside
                time.sleep(0.004)
            os.remove(folder / "inside")
            with open(folder / "turns", "a") as file:
                file.write(f"{number}\\n")

context = multiprocessing.get_context("fork")
start = context.Barrier(processes)
running = [context.Process(target=contend, args=(n, start)) for n in range(processes)]
[process.start() for process in running]
[process.join() for process in running]
sys.exit(sum(process.exitcode for process in running))
"""


class TestManyContenders:
    def test_six_processes_never_overlap_and_all_get_their_turns(self, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-c", CONTEND, str(tmp_path), "6", "4"], check=True)
        turns = (tmp_path / "turns").read_text().split()
        assert sorted(turns) == sorted(str(number) for number in range(6) for _ in range(4))
        assert leases(Storage(str(tmp_path / "ws"))) == {}

    @pytest.mark.parametrize(("kind", "threads", "rounds"), [("memory", 6, 3), ("s3", 3, 1)])
    def test_threads_on_an_object_store(
        self,
        kind: str,
        threads: int,
        rounds: int,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        place = f"memory://{uuid4().hex}"
        if kind == "s3":
            place = request.getfixturevalue("s3_environment")
            monkeypatch.setattr(lease, "LOOK_SECONDS", 0.1)
        monkeypatch.setattr(lease, "EXPIRY_SECONDS", 20)
        storage = Storage.at(f"{place}/ws")
        inside: list[int] = []
        crowds: list[int] = []

        def contend(number: int) -> int:
            for _ in range(rounds):
                with lease.writing(storage, 60):
                    inside.append(number)
                    crowds.append(len(inside))
                    time.sleep(0.004)
                    crowds.append(len(inside))
                    inside.remove(number)
            return number

        with ThreadPoolExecutor(threads) as pool:
            assert sorted(pool.map(contend, range(threads))) == list(range(threads))
        assert crowds == [1] * 2 * rounds * threads
        assert leases(storage) == {}
