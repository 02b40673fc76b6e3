"""Whatever becomes of the terminal, the pipe or the disk, nothing that is printed ends a run."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flows.reporting.streams import Lasting, lasting

SPEAKER = """
import logging, sys
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress
from flows.reporting import streams
from prefect.logging.handlers import PrefectConsoleHandler

early = PrefectConsoleHandler(sys.stderr)
bare = logging.StreamHandler(sys.stderr)
with streams.lasting():
    sys.stdin.readline()  # by now the reader is gone
    log = logging.getLogger("x")
    log.addHandler(early)
    log.addHandler(bare)
    log.addHandler(RichHandler(console=Console(stderr=True)))
    for _ in range(3):
        log.warning("a warning")
        Console().print("a result")
        Console(stderr=True).print("a sentence")
        sys.stdout.write("a document " * 5000)
        print("more " * 5000)
        with Progress(console=Console(stderr=True, force_terminal=True)) as bars:
            bars.advance(bars.add_task("stage", total=1))
open(sys.argv[1], "w").write("went on to the end")
"""


def speak(tmp_path: Path, prelude: str = "", **streams: object) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", prelude + SPEAKER, str(tmp_path / "done")],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        **streams,  # type: ignore[call-overload]
    )


def went_on(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"go\n", timeout=120)
    assert (tmp_path / "done").read_text() == "went on to the end"
    assert process.returncode == 0


class TestAProcessGoesOn:
    def test_where_the_reader_of_its_pipe_is_gone(self, tmp_path: Path) -> None:
        reading, writing = os.pipe()
        process = speak(tmp_path, stdout=writing, stderr=writing)
        os.close(writing)
        os.close(reading)
        went_on(tmp_path, process)

    def test_where_the_disk_behind_its_streams_is_full(self, tmp_path: Path) -> None:
        with Path("/dev/full").open("wb") as full:
            went_on(tmp_path, speak(tmp_path, stdout=full, stderr=full))

    def test_where_its_terminal_has_vanished(self, tmp_path: Path) -> None:
        ours, theirs = os.openpty()
        process = speak(tmp_path, stdout=theirs, stderr=theirs)
        os.close(theirs)
        os.close(ours)
        went_on(tmp_path, process)

    def test_where_its_streams_are_closed(self, tmp_path: Path) -> None:
        closed = "import os, sys\nos.close(1)\nos.close(2)\n"
        went_on(tmp_path, speak(tmp_path, closed))

    def test_where_its_encoding_lacks_a_letter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        monkeypatch.setattr(f"{__name__}.SPEAKER", SPEAKER.replace('"a result"', '"画像 → マスク"'))
        process = speak(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out, _ = process.communicate(b"go\n", timeout=120)
        assert process.returncode == 0
        assert b"? ? ???" in out


class TestLasting:
    def test_what_can_be_written_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        with lasting():
            sys.stdout.write("out")
            sys.stderr.write("err")
            Console(stderr=True).print("or")
        assert capsys.readouterr() == ("out", "error\n")
        assert not isinstance(sys.stdout, Lasting)

    def test_a_broken_stream_is_not_written_to_again(self) -> None:
        class Broken:
            writes = 0

            def write(self, _: str) -> int:
                self.writes += 1
                raise BrokenPipeError

        broken = Broken()
        stream = Lasting(broken)
        assert [stream.write("abc") for _ in range(3)] == [3, 3, 3]
        assert broken.writes == 1
        assert not stream.isatty()

    def test_no_logger_raises(self) -> None:
        with lasting():
            assert logging.raiseExceptions is False


class TestAFlowRunOfAWorker:
    """Its streams are pipes to the worker, and Prefect made its handlers before our code came."""

    def test_goes_on_when_the_worker_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logs_only = [
            line for line in SPEAKER.splitlines() if "stdout" not in line and "print(" not in line
        ]
        flow = "\n".join(logs_only).replace(
            "with streams.lasting():", "streams.survive()\nfor _ in range(1):"
        )
        flow = flow[: flow.index("        with Progress")] + flow[flow.index("open(sys.argv") :]
        assert "log.warning" in flow
        monkeypatch.setattr(f"{__name__}.SPEAKER", flow)
        reading, writing = os.pipe()
        process = speak(tmp_path, stdout=writing, stderr=writing)
        os.close(writing)
        os.close(reading)
        went_on(tmp_path, process)

    def test_every_flow_is_prepared_for_it(self) -> None:
        from flows.reporting import outage, streams
        from flows.runs import stages

        assert outage.run_record is stages.run_record  # importing it is what prepares them
        assert Console.on_broken_pipe is streams._be_quiet  # type: ignore[comparison-overlap]
