"""The command line: `stego run`, `backfill`, `segment`, `status`, and every stage by its name."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import click
from pydantic.fields import FieldInfo

from flows import environment, streams
from flows.ending import Ending, ending
from stego_core.errors import DEFECT, MEND, OptionError
from tasks.log import Log

if TYPE_CHECKING:
    from flows.menu import CommandSpec

ALIASES = {"k": "--neighbors"}
"""Flags that read better than their option's name."""
log = Log(__name__)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `stego`; however it ends, one sentence and an exit code tell how.

    Exit codes: 2, mend your input; 75, try again later; 130, interrupted; 70, a defect of ours.
    """
    environment.prepare()
    if (sys.argv[1:] if arguments is None else arguments) == ["--version"]:
        return _show_version()  # before the options' libraries are imported
    if arguments is None:
        logging.lastResort = None  # what Prefect says while the process ends stays unsaid
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with streams.lasting():
            _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str] | None) -> None:
    try:
        build().main(args=arguments, prog_name="stego", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(MEND)
    except SystemExit:
        raise
    except BaseException as error:
        end = ending(error)
        if end.code == DEFECT:
            sys.stderr.write(traceback.format_exc())  # there is no log file yet
        _end(end)


def _end(end: Ending) -> NoReturn:
    from flows import console

    if end.sentence:
        console.fail(end.sentence)
    sys.exit(end.code)


def _interrupted(*_: object) -> None:
    """Make SIGTERM end like Ctrl-C: at once a process would leave Prefect's server behind."""
    raise KeyboardInterrupt


def _show_version(*_: object) -> None:
    from flows import version

    with streams.lasting():
        sys.stdout.write("\n".join([*version.lines(), ""]))


def build() -> click.Group:
    """The command group; options come from the pydantic models, so help and forms agree."""
    from flows import menu

    group = click.Group("stego", help="A class for every pixel of any image corpus, unlabelled.")
    group.params.append(
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version_asked,
            help="Show the versions and exit.",
        )
    )
    for command in menu.COMMANDS:
        click_command = click.Command(
            command.name,
            callback=_callback(command),
            params=[*_common(), *command.parameters, *_flags((*command.sections, "storage"))],
            help=command.help,
        )
        group.add_command(click_command)
    return group


def _version_asked(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        _show_version()
        context.exit()


def _common() -> list[click.Parameter]:
    return [
        click.Option(["--workspace"], required=True, help="Folder or URI that holds all outcomes."),
        click.Option(["--config"], help="TOML file with a section per stage; flags win."),
        click.Option(
            ["--log-file"], help="Where all log lines go. [default: stego.log in the workspace]"
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            help="Of the log file, and of stderr where that is no terminal; json: one object a "
            "line. [default: STEGO_LOG_FORMAT, else text]",
        ),
    ]


def _flags(sections: Sequence[str]) -> list[click.Parameter]:
    """A flag for every option of the sections."""
    from flows.settings import SECTIONS

    flags: dict[str, click.Parameter] = {}
    for section in sections:
        for name, field in SECTIONS[section].model_fields.items():
            flags.setdefault(name, _flag(name, field))
    return list(flags.values())


def _flag(name: str, field: FieldInfo) -> click.Option:
    """A flag for one option; unset ones stay out of the way of the configuration file."""
    flag = ALIASES.get(name, "--" + name.replace("_", "-"))
    default = field.get_default(call_default_factory=False)
    shown = "" if field.is_required() or default is None else f" [default: {default}]"
    if field.annotation is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    kinds = get_args(field.annotation) or (field.annotation,)
    number = next((kind for kind in kinds if kind in (int, float)), None)
    return click.Option(
        [flag, name],
        type=bool if field.annotation is bool else number or str,
        default=None,
        help=f"{field.description}{shown}",
    )


def _callback(command: "CommandSpec") -> Callable[..., None]:
    def call(
        workspace: str,
        config: str | None,
        log_file: str | None,
        log_format: str | None,
        **values: Any,
    ) -> None:
        from flows import logs
        from tasks.workspace.workspace import Workspace

        if not command.makes and "://" not in workspace:
            Workspace.open(workspace)  # before a folder is made for the log of a mistyped one
        place = log_path(workspace, log_file)
        with logs.logging_to(place, logs.form(log_format), log_file is not None):
            try:
                _call(command, workspace, config, values)
            except BaseException as error:
                _end(_told(error, place))

    return call


def _told(error: BaseException, place: Path) -> Ending:
    """How a command ends; the traceback of a defect goes to the log."""
    end = ending(error)
    if end.code != DEFECT or isinstance(error, SystemExit):
        return end
    log.exception("defect")
    if not place.exists():
        sys.stderr.write(traceback.format_exc())
        return end
    return Ending(
        end.code, f"{end.sentence}; the traceback is in {place}: please report it with that file"
    )


def _call(
    command: "CommandSpec", workspace: str, config: str | None, values: Mapping[str, Any]
) -> None:
    from flows import console, record
    from flows.session import alone, connected
    from flows.settings import from_toml

    given = {name: value for name, value in values.items() if value is not None}
    extra = {p.name: given.get(str(p.name)) for p in command.parameters}
    with record.recorded(command.name, workspace):
        stored = from_toml(config) if config else {}
        storage = section_options("storage", given, stored)
        with connected(storage):
            with console.showing_progress():
                sections = options_of(command, workspace, stored, given)
                with alone(workspace, storage) if command.writes else nullcontext():
                    show = command.run(workspace=workspace, **sections, **extra)
            if show:
                show()


def options_of(
    command: "CommandSpec",
    workspace: str,
    stored: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Options by section: flags over the file over what is current over defaults.

    Raises:
        OptionError: a flag belongs to a section that lacks what it cannot do without.
    """
    from flows.settings import SECTIONS
    from tasks.workspace.workspace import Workspace

    current = {}
    if command.continues:
        current = (Workspace.open(workspace).current_or_none() or {}).get("options", {})
    found = {
        section: section_options(section, given, stored, current, section in command.optional)
        for section in command.sections
    }
    taken = {n for section, built in found.items() if built for n in SECTIONS[section].model_fields}
    for section in command.optional:
        fields = SECTIONS[section].model_fields
        for name in sorted(fields.keys() & given.keys() - taken):
            required = " and ".join(f"--{n}" for n, field in fields.items() if field.is_required())
            raise OptionError(f"--{name.replace('_', '-')} needs {required}")
    return found


def section_options(
    section: str,
    given: Mapping[str, Any],
    stored: Mapping[str, Mapping[str, Any]],
    current: Mapping[str, Mapping[str, Any]] | None = None,
    optional: bool = False,
) -> Any:
    """The options of one section; None if it is optional and what it cannot do without is not
    given.
    """
    from flows.settings import SECTIONS, built

    fields = SECTIONS[section].model_fields
    flags = {name: given[name] for name in fields if name in given}
    values = {**(current or {}).get(section, {}), **stored.get(section, {}), **flags}
    required = {name for name, field in fields.items() if field.is_required()}
    return None if optional and not required <= values.keys() else built(section, values)


def log_path(workspace: str, given: str | None) -> Path:
    """The log file: as given, inside a local workspace that may be written, or in this folder."""
    if given:
        return Path(given)
    place = Path(workspace)
    elsewhere = "://" in workspace or (place.exists() and not os.access(place, os.W_OK))
    return Path("stego.log") if elsewhere else place / "stego.log"
