"""Structured log lines: one event, then its fields, as `event stage=features shard=12`."""

import json
import logging
from typing import Any


class Log:
    """A logger whose lines carry fields, for people and for programs alike.

    Event and fields are also on the record, as `record.event` and `record.fields`.
    """

    def __init__(self, name: str) -> None:
        """Lines of the module `name`."""
        self.logger = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        """What concerns a single image."""
        self._line(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """What a run does."""
        self._line(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What a person should look at."""
        self._line(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """What ended a run."""
        self._line(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """What ended a run, with the traceback of the exception that is being handled."""
        self._line(logging.ERROR, event, fields, True)

    def _line(
        self, level: int, event: str, fields: dict[str, Any], traceback: bool = False
    ) -> None:
        text = " ".join([event, *(f"{name}={_value(value)}" for name, value in fields.items())])
        extra = {"event": event, "fields": fields}
        self.logger.log(level, "%s", text, extra=extra, exc_info=traceback)


def _value(value: Any) -> str:
    text = str(value)
    plain = text and not any(c.isspace() or c in '="' for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
