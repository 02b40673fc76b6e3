"""Log lines: JSON on request, files that rotate, nothing left behind on the loggers."""

import io
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.logging.handlers import PrefectConsoleHandler

from flows.reporting import console, logs, run_record
from flows.reporting.logs import LogFile, logging_to
from stego_core.errors import InputError, OptionError
from tasks.log import Log

log = Log("tasks.test")


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestJson:
    def test_one_object_a_line_with_our_fields(self, tmp_path: Path) -> None:
        path = tmp_path / "stego.log"
        with logging_to(path, "json"), run_record.recorded("try", str(tmp_path)) as run:
            log.info("stage finished", stage="masks day-1", rows=3, part=1.5, names=["a", "b"])
            logging.getLogger("elsewhere").warning("two\nlines of %s", "a library")
        ours, theirs, end = written(path)
        assert ours["event"] == "stage finished"
        assert (ours["level"], ours["logger"]) == ("INFO", "tasks.test")
        assert (ours["stage"], ours["rows"], ours["part"]) == ("masks day-1", 3, 1.5)
        assert ours["names"] == ["a", "b"]
        assert ours["time"].endswith("Z")
        assert "T" in ours["time"]
        assert theirs["event"] == "two\nlines of a library"
        assert ours["run"] == theirs["run"] == end["run"] == run.name
        assert end["event"] == "run finished"

    def test_an_exception_is_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "stego.log"
        with logging_to(path, "json"):
            try:
                raise ZeroDivisionError("by zero")
            except ZeroDivisionError:
                log.exception("defect")
        (line,) = written(path)
        assert line["exception"].splitlines()[-1] == "ZeroDivisionError: by zero"
        assert line["level"] == "ERROR"

    def test_a_field_hides_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "stego.log"
        with logging_to(path, "json"):
            log.info("event", time=1, level="low", logger="x", event_=2)
        (line,) = written(path)
        assert (line["level"], line["field_level"], line["field_time"]) == ("INFO", "low", 1)

    def test_numbers_that_json_lacks(self) -> None:
        found = logs.plain({"a": math.nan, "b": [math.inf, 1.0], "c": Path("/x"), "d": True})
        assert found == {"a": None, "b": [None, 1.0], "c": "/x", "d": True}

    def test_names_that_are_no_unicode(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "stego.log"
        root = logging.getLogger()
        for handler in [each for each in root.handlers if isinstance(each, type(caplog.handler))]:
            root.removeHandler(handler)  # pytest-xdist sends no such text to its reporter
        with logging_to(path, "json"):
            log.info("event", path="caf\udce9.png", other="画像")
        assert written(path)[0]["other"] == "画像"

    def test_stderr_that_is_no_terminal_gets_the_same(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with logging_to(tmp_path / "stego.log", "json"):
            log.info("one")
            console.say("nothing new")
            console.fail("it is not there")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line["event"] for line in lines] == ["one", "nothing new", "it is not there"]
        assert lines[-1]["level"] == "ERROR"
        console.say("a person again")
        assert capsys.readouterr().err == "a person again\n"

    def test_what_is_for_the_person_alone_is_in_no_log(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with logging_to(tmp_path / "stego.log", "json"):
            console.show("http://127.0.0.1:1/?token=secret")
        assert "secret" not in (tmp_path / "stego.log").read_text()
        assert capsys.readouterr().err == "http://127.0.0.1:1/?token=secret\n"

    def test_the_environment_says_it_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STEGO_LOG_FORMAT", "json")
        assert logs.form(None) == "json"
        assert logs.form("text") == "text"
        monkeypatch.setenv("STEGO_LOG_FORMAT", "xml")
        with pytest.raises(OptionError, match="'xml' is not known; expected text or json"):
            logs.form(None)


class TestAWorker:
    @pytest.fixture(autouse=True)
    def restored(self) -> Iterator[None]:
        names = ["", *logging.root.manager.loggerDict]
        before = {name: list(logging.getLogger(name).handlers) for name in names}
        yield
        for name, handlers in before.items():
            logging.getLogger(name).handlers[:] = handlers

    def spoken(self) -> str:
        stream = io.StringIO()
        logger = logging.getLogger("prefect.test_worker")
        logger.addHandler(PrefectConsoleHandler(stream, level=logging.WARNING))
        logs.in_a_worker()
        logger.warning("[red]a warning")
        logger.removeHandler(logger.handlers[-1])
        return stream.getvalue()

    def test_prints_objects_where_it_is_told_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STEGO_LOG_FORMAT", "json")
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a-run")
        line = json.loads(self.spoken())
        assert (line["event"], line["level"]) == ("[red]a warning", "WARNING")

    def test_prints_text_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("STEGO_LOG_FORMAT", raising=False)
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a-run")
        assert self.spoken() == "[red]a warning\n"


class TestFile:
    def test_is_put_aside_at_its_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logs, "FILE_BYTES", 500)
        with logging_to(tmp_path / "stego.log"):
            for number in range(100):
                log.info("a line of some length", number=number)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["stego.log", *(f"stego.log.{n}" for n in range(1, logs.OLD_FILES + 1))]
        assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())
        assert "number=99" in (tmp_path / "stego.log").read_text()

    def test_two_writers_lose_no_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logs, "FILE_BYTES", 300)
        monkeypatch.setattr(logs, "OLD_FILES", 50)
        path = tmp_path / "stego.log"
        writers = [LogFile(path), LogFile(path)]
        for number in range(60):
            line = logging.LogRecord("x", 20, "", 0, f"line {number}", None, None)
            writers[number % 2].emit(line)
        for writer in writers:
            writer.close()
        lines = [line for part in tmp_path.iterdir() for line in part.read_text().splitlines()]
        assert sorted(lines) == sorted(f"line {number}" for number in range(60))
        assert path.read_text().splitlines()[-1] == "line 59"

    def test_a_full_disk_is_told_once_and_ends_nothing(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with logging_to(Path("/dev/full")):
            for _ in range(3):
                log.info("event")
        assert capsys.readouterr().err.count("/dev/full cannot be written") == 1

    def test_one_that_was_asked_for_must_be_had(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        place = tmp_path / "file" / "stego.log"
        with pytest.raises(OptionError, match=r"--log-file .* cannot be written"):
            logging_to(place, required=True).__enter__()

    def test_the_usual_one_is_done_without(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        with logging_to(tmp_path / "file" / "stego.log"):
            log.info("event")
        assert "there will be no log file" in capsys.readouterr().err


class TestAfterwards:
    def test_loggers_are_as_they_were(self, tmp_path: Path) -> None:
        def state() -> list[Any]:
            names = ("", "prefect", "flows", "tasks", "stego_core")
            loggers = [logging.getLogger(name) for name in names]
            return [(logger.level, list(logger.handlers)) for logger in loggers]

        before = state()
        for _ in range(3):
            with logging_to(tmp_path / "stego.log"):
                assert logging.getLogger().level == logging.INFO
        assert state() == before


class TestRecord:
    def test_a_run_that_fails(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with (  # noqa: PT012
            pytest.raises(InputError),
            run_record.recorded("run", "s3://key:secret@bucket/ws"),
        ):
            run_record.stage_ended("features day", 1.25, 3)
            run_record.stage_ended("features day", 1.0, 3)
            raise InputError("no images")
        fields = caplog.records[-1].fields
        assert caplog.records[-1].levelno == logging.ERROR
        assert fields["command"] == "run"
        assert "secret" not in fields["workspace"]
        assert fields["stages"]["features day"] == pytest.approx(2.25, abs=0.1)
        assert (fields["exit_code"], fields["error"]) == (2, "no images")

    def test_a_run_inside_a_run_is_part_of_it(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with run_record.recorded("run", "ws") as outer, run_record.recorded("flow", "ws") as inner:
            assert inner is outer
        told = [r.fields["command"] for r in caplog.records if r.event == "run finished"]
        assert told == ["run"]

    def test_it_is_not_shown_to_a_person(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with (
            logging_to(tmp_path / "stego.log"),
            pytest.raises(InputError),
            run_record.recorded("run", str(tmp_path)),
        ):
            raise InputError("no images")
        assert "run failed" not in capsys.readouterr().err
        assert "run failed" in (tmp_path / "stego.log").read_text()
