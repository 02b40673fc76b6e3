"""Where log lines go: a file that rotates, the terminal; as text, or as one JSON object a line."""

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

from pydantic_core import to_jsonable_python
from rich.logging import RichHandler
from structlog.processors import JSONRenderer, format_exc_info
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict

from flows.reporting import console
from flows.reporting import run_record as record
from stego_core.errors import OptionError

Form = Literal["text", "json"]
VARIABLE = "STEGO_LOG_FORMAT"
"""Environment variable that says the form where no `--log-format` does, as in deployments."""
OWN = ("flows", "tasks", "stego_core")
AS_SENTENCES = {"flows.reporting.run_record", "flows.cli.main"}
"""Loggers that say how a run ended; people get the error itself, in one sentence."""
FILE_BYTES = 10 * 2**20
"""A log file is put aside at this size."""
OLD_FILES = 4
"""So many of those that were put aside stay."""
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def json_lines() -> logging.Formatter:
    """A record as one JSON object: time, level, logger, event, our fields, which run it is of."""
    render = JSONRenderer(default=str, ensure_ascii=False)
    return ProcessorFormatter(processors=[_object, format_exc_info, render])


def _object(_: Any, __: str, line: EventDict) -> EventDict:
    """What the object holds; a field of ours never hides what every line has."""
    record: logging.LogRecord = line["_record"]
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    fields = {
        "time": moment.replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "event": getattr(record, "event", None) or line["event"],
        **_run_of(record),
    }
    for name, value in getattr(record, "fields", {}).items():
        fields[f"field_{name}" if name in fields else name] = plain(value)
    beside = {"exc_info": "exc_info", "stack_info": "stack"}
    return fields | {beside[name]: line[name] for name in beside if name in line}


def _run_of(line: logging.LogRecord) -> dict[str, str]:
    """Which command, and which flow and task run of Prefect's, a line is of."""
    ids = {"run": record.current_id()}
    if "prefect.context" in sys.modules:
        from prefect.context import FlowRunContext, TaskRunContext

        task, flow = TaskRunContext.get(), FlowRunContext.get()
        if task is not None:
            ids["task_run_id"] = str(task.task_run.id)
            ids["flow_run_id"] = str(task.task_run.flow_run_id)
        if flow is not None and flow.flow_run is not None:
            ids["flow_run_id"] = str(flow.flow_run.id)
            ids["flow_run"] = flow.flow_run.name
    for name in ("flow_run_id", "task_run_id"):
        if name not in ids and getattr(line, name, None):
            ids[name] = str(getattr(line, name))
    return {name: value for name, value in ids.items() if value}


def plain(value: Any) -> Any:
    """A value as JSON can hold it: what is no number becomes null, what is nothing else a text."""
    return to_jsonable_python(value, inf_nan_mode="null", bytes_mode="base64", fallback=str)


class LogFile(RotatingFileHandler):
    """A rotating file that several commands may write; one that cannot be written ends no run."""

    def __init__(self, path: Path) -> None:
        """Append to the file at `path`."""
        super().__init__(
            path, "a", FILE_BYTES, OLD_FILES, encoding="utf-8", errors="backslashreplace"
        )
        self.failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; where another command has put the file aside, to the new one."""
        with suppress(OSError):
            if self.stream and os.fstat(self.stream.fileno()).st_ino != self._present():
                self.stream.close()
                self.stream = self._open()
        super().emit(record)

    def _present(self) -> int | None:
        try:
            return os.stat(self.baseFilename).st_ino
        except OSError:
            return None

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that lines are lost, and go on."""
        if not self.failed:
            self.failed = True
            reason = sys.exc_info()[1]
            console.say(
                f"warning: {self.baseFilename} cannot be written ({reason}); lines are lost"
            )

    def close(self) -> None:
        """Close what can be closed: a full disk refuses the last lines once more."""
        with suppress(OSError):
            super().close()


def form(given: str | None) -> Form:
    """The form that a flag or the environment says; OptionError if there is no such form."""
    name = given or os.environ.get(VARIABLE) or "text"
    if name not in ("text", "json"):
        raise OptionError(f"log format {name!r} is not known; expected text or json")
    return "json" if name == "json" else "text"


def log_path(workspace: str, given: str | None) -> Path:
    """The log file: as given, inside a local workspace that may be written, or in this folder."""
    if given:
        return Path(given)
    folder = Path(workspace)
    elsewhere = "://" in workspace or (folder.exists() and not os.access(folder, os.W_OK))
    return Path("stego.log") if elsewhere else folder / "stego.log"


@contextmanager
def logging_to(path: Path, form: Form = "text", required: bool = False) -> Iterator[None]:
    """Send every library's lines to a file; our own warnings also to the terminal.

    As JSON, our lines and libraries' warnings go to stderr too where that is no terminal. A file
    that cannot be opened is only warned of, unless a person named it.

    Raises:
        OptionError: the file is required and cannot be opened.
    """
    file = _log_file(path, form, required)
    handlers: list[logging.Handler] = [file] if file else []
    with ExitStack() as stack:
        if file:
            stack.callback(file.close)
        if form == "json" and not console.console.is_terminal:
            handlers.append(_json_stderr())
            stack.enter_context(console.speaking_in_records())
        else:
            _attach(stack, [_terminal()], map(logging.getLogger, OWN))
        stack.callback(logging.root.setLevel, logging.root.level)
        logging.root.setLevel(logging.INFO)
        _attach(stack, handlers, _loggers_of_all_lines())
        stack.callback(logging.captureWarnings, False)
        logging.captureWarnings(True)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")
        yield


def _log_file(path: Path, form: Form, required: bool) -> LogFile | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = LogFile(path)
    except OSError as error:
        if required:
            raise OptionError(f"--log-file {path} cannot be written: {error}") from None
        console.say(f"warning: {path} cannot be written ({error}); there will be no log file")
        return None
    file.setFormatter(json_lines() if form == "json" else logging.Formatter(TEXT))
    return file


def _json_stderr() -> logging.Handler:
    """Our own lines, and libraries' warnings: each request of theirs is in the file."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(json_lines())
    handler.addFilter(
        lambda line: line.levelno >= logging.WARNING or line.name.split(".")[0] in OWN
    )
    return handler


def _terminal() -> logging.Handler:
    """Our own warnings on the terminal."""
    handler = RichHandler(logging.WARNING, console.console, show_time=False, show_path=False)
    handler.addFilter(lambda line: line.name not in AS_SENTENCES)
    return handler


def _loggers_of_all_lines() -> list[logging.Logger]:
    """The root, and those of Prefect's that keep their lines from it."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("prefect")]
    return [logging.root, *(log for log in map(logging.getLogger, names) if not log.propagate)]


def _attach(
    stack: ExitStack, handlers: Sequence[logging.Handler], loggers: Iterable[logging.Logger]
) -> None:
    for logger in loggers:
        for handler in handlers:
            logger.addHandler(handler)
            stack.callback(logger.removeHandler, handler)


def in_a_worker() -> None:
    """In a flow run of a Prefect worker: its lines as JSON objects where STEGO_LOG_FORMAT says so.

    Prefect's own way to change a handler is a file of settings; this keeps its handlers and
    replaces what they print with.
    """
    if form(None) != "json" or "PREFECT__FLOW_RUN_ID" not in os.environ:
        return
    from prefect.logging.handlers import PrefectConsoleHandler

    for logger in (logging.root, *map(logging.getLogger, logging.root.manager.loggerDict)):
        for handler in list(logger.handlers):
            if isinstance(handler, PrefectConsoleHandler):
                lines = logging.StreamHandler(handler.stream)
                lines.setLevel(handler.level)
                lines.setFormatter(json_lines())
                logger.removeHandler(handler)
                logger.addHandler(lines)
