"""How flags become options: groups, files below flags, and what a workspace used last."""

from collections.abc import Callable, Mapping, Sequence
from inspect import BoundArguments
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

import docstring_parser
from cyclopts import (
    UNSET,
    App,
    Argument,
    ArgumentCollection,
    CycloptsError,
    Group,
    Parameter,
    Token,
    UnusedCliTokensError,
)
from docstring_parser import Docstring, DocstringStyle
from pydantic import Field, ValidationError

from flows.cli import version
from flows.runs.session import connected
from flows.runs.settings import SECTIONS, Compute, Storage, built, flag_name, from_toml, mistake
from stego_core.errors import OptionError
from tasks.options import ComputeOptions, Options, StorageOptions
from tasks.workspace.workspace import Workspace

DEFAULT = "default"
"""Name of what a group of commands does where none of them is named."""
Shown = Callable[[], None] | None
"""What a command prints once the progress bars are gone."""
Command = TypeVar("Command", bound=Callable[..., Shown])


def _docstring(part: Any, style: DocstringStyle = DocstringStyle.AUTO) -> Docstring:
    """A docstring's parts, for cyclopts, which asks for the help of every option.

    docstring_parser's own function also reads the source of each section and of pydantic's classes,
    a second in all, for docstrings below attributes: our options have none.
    """
    return docstring_parser.parse(part.__doc__, style)


docstring_parser.parse_from_object = _docstring  # type: ignore[assignment]


class Traits(NamedTuple):
    """What a command does with its workspace."""

    name: str  # as it is typed
    makes: bool  # makes the workspace where there is none
    continues: bool  # takes options that nobody gives from the workspace's last run
    writes: bool  # changes the workspace without a flow that sees to being alone
    begins: bool  # takes an empty place, where a workspace may be made later


TRAITS: dict[Callable[..., Any], Traits] = {}


class CommonOptions(Options):
    """What every command takes."""

    workspace: str = Field(description="This folder or URI holds all outcomes.")
    config: str | None = Field(
        None, description="This TOML file has a table for each section; flags win."
    )
    log_file: str | None = Field(
        None,
        description="All log lines go to this file. By default it is stego.log in the workspace.",
    )
    log_format: Literal["text", "json"] | None = Field(
        None,
        description="The log file has this form, and so has stderr where that is no terminal; json "
        "is one object a line. By default it is STEGO_LOG_FORMAT, else text.",
    )
    storage: Storage = Field(default_factory=lambda: StorageOptions())

    def opened(self) -> Workspace:
        """The workspace."""
        return Workspace.open(self.workspace)


class WorkOptions(CommonOptions):
    """What commands take that compute."""

    compute: Compute = Field(default_factory=lambda: ComputeOptions())


Flag = Annotated[bool, Parameter(negative="")]


class PrintOptions(CommonOptions):
    """What commands take that only print."""

    as_json: Annotated[Flag, Parameter(name="--json")] = Field(False, description="Print JSON.")


COMMON = Parameter(name="*", group=Group("workspace", sort_key=-1))
Common = Annotated[CommonOptions, COMMON]
Working = Annotated[WorkOptions, COMMON]
Printing = Annotated[PrintOptions, COMMON]
Dump = Annotated[str | None, Parameter(help="The dump's name; default: the last part of --images.")]
Dumps = Annotated[str | None, Parameter(help="Dumps, separated by commas; default: all of them.")]


def fill(app: App, _: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Options that no flag gives, from the configuration file, then from the workspace's last run.

    A flag of several sections, such as --seed, sets all of them.

    Raises:
        OptionError: the file makes no sense, or a flag lacks another that it needs.
    """
    _repeat(arguments)
    location = _text(arguments, "--config")
    _set(arguments, from_toml(location) if location else {})
    workspace = _text(arguments, "--workspace")
    if workspace and app.default_command in TRAITS and TRAITS[app.default_command].continues:
        _set(arguments, _last_options(workspace, arguments))
    _leave_out(arguments)


def _repeat(arguments: ArgumentCollection) -> None:
    first: dict[str, Argument] = {}
    for _, option in _options(arguments):
        same = first.setdefault(option.name, option)
        if same is not option:
            option.tokens.extend(same.tokens)


def _set(arguments: ArgumentCollection, values: Mapping[str, Mapping[str, Any]]) -> None:
    for section, option in _options(arguments):
        name = option.field_info.name
        if not option.tokens and name in values.get(section, {}):
            option.append(Token(keyword=option.name, implicit_value=values[section][name]))


def _last_options(workspace: str, arguments: ArgumentCollection) -> dict[str, dict[str, Any]]:
    options = [option for section, option in _options(arguments) if section == "storage"]
    storage = {option.field_info.name: _value(option) for option in options if option.tokens}
    with connected(built("storage", storage)):
        current = Workspace.open(workspace).last_run_or_none() or {}
    return dict(current.get("options", {}))


def _leave_out(arguments: ArgumentCollection) -> None:
    """Leave a section out that a command can do without, and that lacks a flag it needs."""
    sections = [(section, _lacks(section)) for section in _sections(arguments)]
    taken = {option.name for section, lacks in sections if not lacks for option in section.children}
    for section, lacks in sections:
        for option in section.children if lacks else ():
            if option.tokens and option.name not in taken:
                raise OptionError(f"{option.name} needs {' and '.join(lacks)}")
            option.tokens.clear()


def _lacks(section: Argument) -> list[str]:
    """Flags that are not given and without which an optional section is left out."""
    needed = [
        each.name for each in section.children if each.field_info.required and not each.tokens
    ]
    return needed if type(None) in get_args(section.hint) else []


def _sections(arguments: ArgumentCollection) -> list[Argument]:
    return [each for each in arguments if each.field_info.name in SECTIONS and each.children]


def _options(arguments: ArgumentCollection) -> list[tuple[str, Argument]]:
    """Each option with the name of its section."""
    sections = _sections(arguments)
    return [(each.field_info.name, option) for each in sections for option in each.children]


def _text(arguments: ArgumentCollection, name: str) -> str | None:
    """The value of a flag, if it is given."""
    option = arguments.get(name, default=None)  # --install-completion has no other
    return str(_value(option)) if option and option.tokens else None


def _value(option: Argument) -> Any:
    token = option.tokens[-1]
    return token.value if token.implicit_value is UNSET else token.implicit_value


app = App(
    "stego",
    help="A class for every pixel of any image corpus, unlabelled.",
    help_format="plaintext",
    version=version.text,
    config=fill,
    default_parameter=Parameter(allow_repeating=True, name_transform=flag_name),
    group_parameters=Group("options", sort_key=-2),
    group_commands=Group("commands"),
)
app.register_install_completion_command(help="Complete commands and flags in this shell.")


def command(
    name: str = "",
    makes: bool = False,
    continues: bool = False,
    writes: bool = False,
    begins: bool = False,
    parent: App = app,
) -> Callable[[Command], Command]:
    """Make a function a command, by default of its own name; the first line of its docstring is
    the help.
    """

    def register(function: Command) -> Command:
        typed = name or flag_name(function.__name__)
        group = () if parent is app else parent.name
        full = " ".join([*group, *([] if typed == DEFAULT else [typed])])
        TRAITS[function] = Traits(full, makes, continues, writes, begins)
        if typed == DEFAULT:
            return parent.default(function)
        return parent.command(function, name=typed)

    return register


def listed(names: str | None) -> list[str] | None:
    """Names that are separated by commas; None where none are given."""
    return [name.strip() for name in names.split(",")] if names else None


def parsed(arguments: Sequence[str]) -> tuple[Callable[..., Any], BoundArguments]:
    """The command and its arguments; OptionError where one is unknown, wrong or missing."""
    try:
        run, bound, _ = app.parse_args(arguments, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise OptionError(_sentence(error)) from None
    return run, bound


def _sentence(error: CycloptsError) -> str:
    """What is wrong with a command line."""
    if isinstance(error.__cause__, ValidationError):
        return mistake(error.__cause__)
    if isinstance(error, UnusedCliTokensError):
        unused = ", ".join(map(repr, error.unused_tokens or []))
        return f"{unused} is not expected after the rest of the command; see --help"
    return f"{' '.join(str(error).split())} See --help."
