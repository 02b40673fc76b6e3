"""Prefect's temporary server: when it is started, how it is waited for, how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.reporting import temporary_server
from flows.reporting.temporary_server import Server
from stego_core.errors import OutageError

FLOW = """
from flows.cli import environment
environment.prepare()
from flows.reporting import temporary_server
with temporary_server.beside():
    from prefect import flow
    from prefect.client.orchestration import get_client

@flow
def answer() -> int:
    return 42

if __name__ == "__main__":
    import sys
    assert answer() == 42
    assert "prefect.server.api.server" not in sys.modules
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
    assert [run.state.type.value for run in runs] == ["COMPLETED"]
    with temporary_server.beside():  # it is there already
        print(temporary_server._running.process.pid)
"""


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != temporary_server.URL}
    return {**kept, "PREFECT_HOME": str(home), **more}


@pytest.mark.timeout(120)
def test_a_flow_runs_on_it_and_it_ends_with_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FLOW]
    given = {"env": environment(tmp_path), "capture_output": True, "text": True}
    done = subprocess.run(command, **given)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
    assert (tmp_path / "prefect.db").exists()


class TestNone:
    """Where none is started."""

    @pytest.fixture(autouse=True)
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        calls: list[bool] = []
        monkeypatch.setattr(temporary_server, "_started", lambda: calls.append(True))
        return calls

    def test_an_address_is_in_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, started: list[bool]
    ) -> None:
        monkeypatch.setenv(temporary_server.URL, "http://127.0.0.1:9/api")
        with temporary_server.beside():
            pass
        assert not started

    @pytest.mark.usefixtures("prefect")
    def test_prefect_s_settings_have_an_address(self, started: list[bool]) -> None:
        with temporary_server.beside():
            pass
        assert not started


def server_that(code: str) -> Server:
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    return Server(process, "http://127.0.0.1:9/api")  # nobody listens there


def test_one_that_cannot_start_is_told_with_its_exit_code() -> None:
    server = server_that("raise SystemExit(3)")
    with pytest.raises(OutageError, match=r"temporary Prefect server .* ended with exit code 3"):
        server.wait(5)
    server.end()


def test_one_that_does_not_answer_is_told_and_ended() -> None:
    server = server_that("input()")
    with pytest.raises(OutageError, match=r"did not answer .*; run the same command again"):
        server.wait(5)
    server.end()
    assert server.process.poll() is not None


def test_a_mistake_in_the_block_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = server_that("input()")
    monkeypatch.delenv(temporary_server.URL, raising=False)
    monkeypatch.setattr(temporary_server, "_wanted", lambda: True)
    monkeypatch.setattr(temporary_server, "_started", lambda: server)
    with pytest.raises(ZeroDivisionError), temporary_server.beside():
        raise ZeroDivisionError
    assert server.process.poll() is not None
