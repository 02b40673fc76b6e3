"""The command line `stego`: what every command does before and after its own work."""

import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from flows.cli import environment, version
from flows.reporting import streams
from flows.reporting.exit_codes import Ending, ending
from flows.reporting.paused_collector import paused
from stego_core.errors import DEFECT
from tasks.log import Log

if TYPE_CHECKING:
    from flows.cli.flags import CommonOptions, Shown, Traits

COMMANDS = (
    "flows.cli.commands",
    "flows.cli.stage_commands",
    "flows.cli.results",
    "flows.cli.class_edits",
    "flows.cli.teaching",
    "flows.cli.housekeeping",
)
"""The modules whose functions are the commands."""
log = Log(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `stego`; however it ends, one sentence and an exit code tell how.

    Exit codes: 2, mend your input; 75, try again later; 130, interrupted; 70, a defect of ours.
    """
    environment.prepare()
    if arguments is None:
        logging.lastResort = None  # what Prefect says while the process ends stays unsaid
        arguments = sys.argv[1:]
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with streams.lasting():
            _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["--version"]:  # before the options' libraries are imported
        sys.stdout.write(f"{version.text()}\n")
        return
    try:
        with paused():
            from flows.cli.flags import TRAITS, parsed

            for module in COMMANDS:
                import_module(module)
        run, bound = parsed(arguments)
        if run in TRAITS:
            _call(lambda: run(*bound.args, **bound.kwargs), TRAITS[run], bound.arguments["common"])
        else:
            run(*bound.args, **bound.kwargs)  # the help
    except SystemExit:
        raise
    except BaseException as error:
        end = ending(error)
        if end.code == DEFECT:
            sys.stderr.write(traceback.format_exc())  # there is no log file yet
        _end(end)


def _end(end: Ending) -> NoReturn:
    from flows.reporting import console

    if end.sentence:
        console.fail(end.sentence)
    sys.exit(end.code)


def _interrupted(*_: object) -> None:
    """Make SIGTERM end like Ctrl-C: at once a process would leave Prefect's server behind."""
    raise KeyboardInterrupt


def _call(run: "Callable[[], Shown]", traits: "Traits", common: "CommonOptions") -> None:
    """Run a command with its log open; says how it ended."""
    from flows.reporting import logs
    from tasks.workspace.workspace import Workspace

    if not traits.makes and "://" not in common.workspace:
        opened = Workspace.at if traits.begins else Workspace.open
        opened(common.workspace)  # before a folder is made for the log of a mistyped one
    log_file = logs.log_path(common.workspace, common.log_file)
    with logs.logging_to(log_file, logs.form(common.log_format), common.log_file is not None):
        try:
            _work(run, traits, common)
        except BaseException as error:
            _end(_ending(error, log_file))


def _work(run: "Callable[[], Shown]", traits: "Traits", common: "CommonOptions") -> None:
    """Run a command, as the record of a run; what it shows comes when the bars are gone."""
    from flows.reporting import console, run_record
    from flows.runs.session import alone, connected
    from tasks.workspace.workspace import Workspace

    claim = alone(common.workspace, common.storage) if traits.writes else nullcontext()
    with run_record.recorded(traits.name, common.workspace), connected(common.storage):
        with console.showing_progress(), claim:
            show = run()
            if traits.writes:
                Workspace.open(common.workspace).save_catalog()
        if show:
            show()


def _ending(error: BaseException, log_file: Path) -> Ending:
    """How a command ends; the traceback of a defect goes to the log."""
    end = ending(error)
    if end.code != DEFECT or isinstance(error, SystemExit):
        return end
    log.exception("defect")
    if not log_file.exists():
        sys.stderr.write(traceback.format_exc())
        return end
    return Ending(
        end.code, f"{end.sentence}; the traceback is in {log_file}: please report it with that file"
    )
