"""Structured log lines: one event, then its fields, as `event stage=features shard=12`."""

import json
import logging
from typing import Any

import structlog
from structlog.stdlib import BoundLogger, filter_by_level
from structlog.typing import EventDict


def Log(name: str) -> BoundLogger:
    """A logger of the module `name`, whose lines carry fields: `log.info("event", rows=3)`.

    debug is for what concerns a single image, info for what a run does, warning for what a person
    should look at, error for what ended a run. Event and fields are also on the record, as
    `record.event` and `record.fields`.
    """
    bound: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name), [filter_by_level, _record], BoundLogger
    )
    return bound


def _record(_: Any, __: str, line: EventDict) -> tuple[tuple[str, str], dict[str, Any]]:
    """What the standard library's logger is called with: text for people, fields for programs."""
    event, traceback = line.pop("event"), line.pop("exc_info", None)
    text = " ".join([event, *(f"{name}={_value(value)}" for name, value in line.items())])
    return ("%s", text), {"extra": {"event": event, "fields": line}, "exc_info": traceback}


def _value(value: Any) -> str:
    text = str(value)
    plain = text and not any(c.isspace() or c in '="' for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
