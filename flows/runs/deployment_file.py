"""What `infra/deployment.toml` says, checked, as the parameters of the Prefect deployments."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

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


class Deployment(PipelineOptions):
    """The file: where, when, who is told, and the options of all stages."""

    workspace: str = Field(min_length=1)
    code: str = Field(str(ROOT), min_length=1)
    schedule: Schedule = Schedule()
    retries: Retries = Retries()
    notify: Notify = Notify()
    inbox: InboxOptions
    pretrain: PretrainOptions = Field(default_factory=lambda: PretrainOptions())

    def places(self) -> dict[str, Any]:
        """What prefect.yaml asks for by name: only what the file says, tables as they are."""
        tables = self.model_dump(mode="json", include=set(OPTIONS), exclude_unset=True)
        images = {name: value for name, value in tables["corpus"].items() if name in FIRST}
        corpus = {name: value for name, value in tables["corpus"].items() if name not in FIRST}
        options = {name: table for name, table in tables.items() if name not in ELSEWHERE}
        return {
            **tables,
            **images,
            "workspace": self.workspace,
            "options": {**options, **({"corpus": corpus} if corpus else {})},
            "cron": self.schedule.cron,
            "timezone": self.schedule.timezone,
            "code": str(ROOT / self.code),
        }


OPTIONS = tuple(name for name in SECTIONS if name != "export")
"""The tables that hold the options of stages, as in a file of `stego run --config`."""
FIRST = ("images", "labels", "taxonomy")
"""What pipeline/full has as fields of its own, so that its form begins with them."""
ELSEWHERE = ("corpus", "inbox", "pretrain")
"""Tables that are no options of pipeline/full as they are."""


def path() -> Path:
    """The file to read: STEGO_DEPLOYMENT, else infra/deployment.toml."""
    return Path(os.environ.get(VARIABLE) or FILE)


def load(file: Path | None = None) -> Deployment:
    """Read and check the file; nothing is changed anywhere.

    Raises:
        OptionError: it cannot be read, a name or value is wrong, or a place holds a password; one
            sentence for the first.
    """
    file = file or path()
    try:
        document = tomllib.loads(file.read_text())
        for text in _texts(document):
            if "://" in text:
                Storage.at(text)
        return Deployment(**{"corpus": {}, "inbox": {}, **document})
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise OptionError(f"{file}: {_sentence(error)}") from None
    except StegoError as error:
        raise OptionError(f"{file}: {error}") from None
    except ValueError as error:
        raise OptionError(f"{file} is not TOML: {error}") from None


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
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"{name} is not known; expected {', '.join(_known_names(path[:-1]))}"
    if first["type"] == "missing":
        return f"{name} is missing"
    message, value = first["msg"].removeprefix("Value error, "), repr(first["input"])
    remark = "" if "://" in value else f" (found {value})"  # the address of a webhook is a secret
    return f"{name}: {message[0].lower()}{message[1:]}{remark}"


def _known_names(table: list[str]) -> list[str]:
    """The names that the file, or a table of it, may hold; where and when come first."""
    fields = Deployment.model_fields
    if table:
        return list(getattr(fields[table[0]].annotation, "model_fields", {}))
    return sorted(fields, key=lambda name: name in SECTIONS)


def read() -> dict[str, Any]:
    """A build step of prefect.yaml: what its placeholders stand for."""
    return load().places()
