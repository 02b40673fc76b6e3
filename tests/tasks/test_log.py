"""Log lines: an event, then fields that people and programs both read."""

import json
import logging
import shlex
from collections.abc import Callable

import pytest

from stego_core.errors import OutageError
from tasks.log import Log

log = Log("stego.test")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


class TestFields:
    def test_follow_the_event_in_the_order_given(self, lines: pytest.LogCaptureFixture) -> None:
        log.info("stage finished", stage="features", shards=12, seconds=0.5, dump=None)
        assert lines.records[0].getMessage() == (
            "stage finished stage=features shards=12 seconds=0.5 dump=None"
        )

    def test_are_on_the_record_as_they_were(self, lines: pytest.LogCaptureFixture) -> None:
        cause = OutageError("away")
        log.warning("outage", cause=cause, shards=[1, 2])
        assert lines.records[0].fields == {"cause": cause, "shards": [1, 2]}
        assert lines.records[0].name == "stego.test"

    def test_none_at_all(self, lines: pytest.LogCaptureFixture) -> None:
        log.info("nothing new")
        assert lines.records[0].getMessage() == "nothing new"
        assert lines.records[0].fields == {}

    @pytest.mark.parametrize(
        ("write", "level"),
        [(log.debug, logging.DEBUG), (log.info, logging.INFO), (log.warning, logging.WARNING)],
    )
    def test_levels(
        self, lines: pytest.LogCaptureFixture, write: Callable[..., None], level: int
    ) -> None:
        write("event")
        assert lines.records[0].levelno == level


class TestQuoting:
    @pytest.mark.parametrize("value", ["features", "s3://b/ws/a.png", "0-7", "日本", "100%", "a'b"])
    def test_plain_values_stay_plain(self, lines: pytest.LogCaptureFixture, value: str) -> None:
        log.info("event", value=value)
        assert lines.records[0].getMessage() == f"event value={value}"

    @pytest.mark.parametrize(
        "value", ["", "two words", "a=b", 'say "x"', "line\nline", "tab\t", "no break\u00a0space"]
    )
    def test_others_are_one_quoted_word(self, lines: pytest.LogCaptureFixture, value: str) -> None:
        """So that a line stays one line, and its fields can be told apart."""
        log.info("event", value=value, after=1)
        [line] = lines.records[0].getMessage().splitlines()
        assert line.startswith('event value="')
        assert line.endswith('" after=1')
        quoted = line.removeprefix("event value=").removesuffix(" after=1")
        assert json.loads(quoted) == value

    def test_a_shell_s_word_splitting_finds_the_fields(
        self, lines: pytest.LogCaptureFixture
    ) -> None:
        log.info("event", first="two words", second="plain")
        assert shlex.split(lines.records[0].getMessage()) == [
            "event",
            "first=two words",
            "second=plain",
        ]

    def test_percent_signs_are_no_formats(self, lines: pytest.LogCaptureFixture) -> None:
        log.info("100%s done %d", path="50%s")
        assert lines.records[0].getMessage() == "100%s done %d path=50%s"
