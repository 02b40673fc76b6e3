"""What `infra/deployment.toml` says, checked, as the parameters of the Prefect deployments."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from flows.runs.settings import SECTIONS, PipelineOptions
from stego_core.errors import OptionError, StegoError
from tasks.options import InboxOptions, PretrainOptions
from tasks.storage.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "infra" / "deployment.toml"
VARIABLE = "STEGO_DEPLOYMENT"
"""The environment variable that names another file."""
LEAST_LOST_SECONDS = 120
"""Prefect sends a heartbeat every 30 s at most; a few of them may be late."""


class Table(BaseModel):
    """A table of the file; it refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _cron(text: str) -> str:
    """The text itself, if Prefect's scheduler understands it."""
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=text)
    except ValidationError:
        raise ValueError("expected five cron fields: minute, hour, day, month, weekday") from None
    return text


def _timezone(text: str) -> str:
    """The text itself, if it names a time zone."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        raise ValueError("expected the name of a time zone, such as Europe/Berlin") from None
    return text


class Schedule(Table):
    """When backfill/nightly starts, once its schedule is switched on."""

    cron: Annotated[str, AfterValidator(_cron)] = "0 2 * * *"
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"


class Retries(Table):
    """When a run is started again by itself."""

    times: int = Field(3, ge=0, le=50)
    delay_seconds: int = Field(60, ge=10)
    lost_seconds: int = Field(600, ge=LEAST_LOST_SECONDS)
    pending_seconds: int = Field(900, ge=LEAST_LOST_SECONDS)


class Notify(Table):
    """Who is told that a run failed: a notification block of the Prefect server, TYPE/NAME."""

    block: str | None = Field(None, pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")


class Head(Table):
    """The file but for the options of the stages."""

    workspace: str = Field(min_length=1)
    code: str = Field(str(ROOT), min_length=1)
    schedule: Schedule = Schedule()
    retries: Retries = Retries()
    notify: Notify = Notify()


OPTIONS = tuple(name for name in SECTIONS if name != "export")
"""The tables that hold the options of stages, as in a file of `stego run --config`."""
FIRST = ("images", "labels", "taxonomy")
"""What pipeline/full has as fields of its own, so that its form begins with them."""
ELSEWHERE = ("corpus", "inbox", "pretrain")
"""Tables that are no options of pipeline/full as they are."""


class Deployment(Head):
    """The file as a whole."""

    options: dict[str, dict[str, Any]]

    def places(self) -> dict[str, Any]:
        """What prefect.yaml asks for by name: only what the file says, tables as they are."""
        given = self.options
        corpus = given.get("corpus", {})
        first = {name: corpus[name] for name in FIRST if name in corpus}
        rest = {name: value for name, value in corpus.items() if name not in FIRST}
        options = {name: table for name, table in given.items() if name not in ELSEWHERE}
        return {
            **given,
            **first,
            "workspace": self.workspace,
            "options": {**options, **({"corpus": rest} if rest else {})},
            "cron": self.schedule.cron,
            "timezone": self.schedule.timezone,
            "code": str(ROOT / self.code),
        }


class Options(PipelineOptions):
    """Every option of the file, by stage."""

    inbox: InboxOptions
    pretrain: PretrainOptions = Field(default_factory=lambda: PretrainOptions())


def path() -> Path:
    """The file to read: STEGO_DEPLOYMENT, else infra/deployment.toml."""
    return Path(os.environ.get(VARIABLE) or FILE)


def load(file: Path | None = None) -> Deployment:
    """Read and check the file; nothing is changed anywhere.

    Raises:
        OptionError: it cannot be read, or a name or value is wrong; one sentence for the first.
    """
    file = file or path()
    try:
        document = tomllib.loads(file.read_text())
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise OptionError(f"{file} is not TOML: {error}") from None
    options = {name: document.pop(name) for name in OPTIONS if name in document}
    try:
        Head(**document)
        found = Deployment(**document, options=options)
        _check(found)
    except ValidationError as error:
        raise OptionError(f"{file}: {_sentence(error)}") from None
    except StegoError as error:
        raise OptionError(f"{file}: {error}") from None
    return found


def _check(found: Deployment) -> None:
    """Refuse places that hold a password, and options that the stages would refuse."""
    Storage.at(found.workspace)
    for text in _texts(found.options):
        if "://" in text:
            Storage.at(text)
    Options(**{"corpus": {}, "inbox": {}, **found.options})


def _texts(values: Any) -> Iterator[str]:
    """Every text in nested tables and lists."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _texts(value)


def _sentence(error: ValidationError) -> str:
    """What is wrong first, in one sentence."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if where[0] == "options" and len(where) > 1:
        del where[0]
    name = ".".join(where)
    if first["type"] == "extra_forbidden":
        return f"{name} is not known; expected {', '.join(_known(where[:-1]))}"
    if first["type"] == "missing":
        return f"{name} is missing"
    message = first["msg"].removeprefix("Value error, ")
    found = repr(first["input"])
    shown = "" if "://" in found else f" (found {found})"  # the address of a webhook is a secret
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"


def _known(table: list[str]) -> list[str]:
    """The names that a table of the file may hold."""
    if not table:
        return [*Head.model_fields, *OPTIONS]
    tables = {**Head.model_fields, **Options.model_fields}
    model = tables[table[0]].annotation
    return list(getattr(model, "model_fields", {}))


def read() -> dict[str, Any]:
    """A build step of prefect.yaml: what its placeholders stand for."""
    return load().places()
