"""What the process of a run tells, and how it ends."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows.explorer.home.run_job import COMMAND
from flows.explorer.home.run_process import Telling
from flows.explorer.home.run_request import RunRequest, Setup
from tasks.engine.progress import Event

FINISHED = Event("masks a", 9, 9, "images", True, "", "one")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_stages_are_told_now_and_then_and_at_their_end() -> None:
    stream = io.StringIO()
    telling = Telling(stream)
    for done in range(9):
        telling.stage(Event("masks a", done, 9, "images", stage="one"))
    telling.stage(Event("masks b", 0, 9, "images", stage="two"))
    telling.stage(FINISHED)
    told = [line["stage"] for line in lines(stream)]
    assert [(each["title"], each["done"]) for each in told] == [
        ("masks a", 0), ("masks b", 0), ("masks a", 9),
    ]  # fmt: skip
    assert told[-1]["finished"]


def test_sentences_are_told_without_what_marks_a_warning() -> None:
    stream = io.StringIO()
    telling = Telling(stream)
    telling.write("left out: 3 files\n\nWARNING  16 classes are asked\n")
    telling.flush()
    assert lines(stream) == [{"said": "left out: 3 files"}, {"said": "16 classes are asked"}]


def test_a_server_that_is_gone_ends_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    Telling(stream).line(said="to nobody")


@pytest.mark.long
@pytest.mark.parametrize("stays", [True, False])
def test_a_mistake_is_one_sentence(tmp_path: Path, stays: bool) -> None:
    """An order whose images are not there; and one whose server goes away at once."""
    setup = Setup(str(tmp_path / "ws"), log=(str(tmp_path / "stego.log"), None, True))
    order = setup.order(RunRequest(kind="backfill", images=str(tmp_path / "none")))
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order.document()).encode() + b"\n")
    process.stdin.flush()
    if not stays:
        process.stdin.close()
    *_, end = map(json.loads, process.stdout)
    assert process.wait(60) == end["end"]
    if stays:
        assert end["end"] == 2
        assert "is not a workspace" in end["sentence"]
    else:
        assert end["end"] in (2, 130)  # whichever came first
    assert "\n" not in end["sentence"]
