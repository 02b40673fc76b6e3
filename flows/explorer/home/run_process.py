"""A run that the page asked for, in a process of its own.

Its first line of input is the order; the end of its input stops it, so it never outlives the server
that started it. What it does, says and how it ends are lines of JSON on its output.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from flows.explorer.home.run_request import RETRAIN, TEACH, Order
from flows.reporting import console, logs, run_record, temporary_server
from flows.reporting.exit_codes import Ending, ending
from flows.runs.session import connected
from stego_core.errors import DEFECT
from tasks.engine import progress
from tasks.engine.progress import Event
from tasks.features import hub
from tasks.log import Log

log = Log(__name__)
TELL_SECONDS = 0.2
"""Between two lines on how far a stage is."""
LINE = 4000
"""Characters of a line: the page breaks sentences itself."""


class Telling:
    """Lines of JSON to the server; what it no longer reads is lost."""

    def __init__(self, stream: TextIO) -> None:
        """Write to this stream."""
        self.stream, self.lock = stream, threading.Lock()
        self.told: dict[str, float] = {}  # when each stage was told last

    def line(self, **fields: Any) -> None:
        """One line."""
        with self.lock, suppress(OSError, ValueError):
            self.stream.write(json.dumps(fields) + "\n")
            self.stream.flush()

    def stage(self, event: Event) -> None:
        """How far a stage is, unless that was told just now; its end always."""
        now = time.monotonic()
        if event.finished or now - self.told.get(event.stage, 0.0) >= TELL_SECONDS:
            self.told[event.stage] = now
            self.line(stage=event.__dict__)

    def write(self, text: str) -> int:
        """What the command would say in the terminal: a file for `rich`."""
        for line in text.splitlines():
            if sentence := line.removeprefix("WARNING").strip():
                self.line(said=sentence)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def main() -> None:
    """Read the order, do it, tell how it ended."""
    signal.signal(signal.SIGTERM, _interrupted)
    telling = Telling(_own_output())
    try:
        order = Order.of(json.loads(sys.stdin.buffer.readline()))
        threading.Thread(target=_end_with_the_server, daemon=True).start()
        end = _work(order, telling)
    except BaseException as error:
        end = ending(error)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it has ended
    telling.line(end=end.code, sentence=end.sentence)
    sys.exit(end.code)


def _own_output() -> TextIO:
    """Standard output for lines of JSON alone: what others print goes to the terminal."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _end_with_the_server() -> None:
    """Stop this process once its input ends: the server wants that, or is no more."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _work(order: Order, telling: Telling) -> Ending:
    """The run with its log open; what `stego` would say in the terminal is told."""
    file, form, required = order.log
    console.console.file = telling  # type: ignore[assignment]  # as much of a file as is used
    console.console.width = LINE
    with logs.logging_to(Path(file), logs.form(form), required):
        try:
            with (
                run_record.recorded(order.kind, order.workspace),
                connected(order.options.storage),
                progress.listening(telling.stage),
            ):
                _run(order)
        except BaseException as error:
            end = ending(error)
            if end.code == DEFECT:
                log.exception("defect")
                return Ending(end.code, f"{end.sentence}; the traceback is in {file}")
            return end
    return Ending(0, "")


def _run(order: Order) -> None:
    """As `stego run`, `stego backfill`, `stego retrain` or `stego teach`."""
    options = order.options
    own = options.compute, options.storage
    if order.kind == RETRAIN:
        with temporary_server.beside():
            from flows.runs.retrain import retrain

        retrain(order.workspace, None, True, options.clusters.classes, *own)
        return
    if order.kind == TEACH:
        with temporary_server.beside():
            from flows.runs.teaching.teach import outcome_sentence, teach

        console.say(outcome_sentence(teach(order.workspace, None, None, False, None, *own)))
        return
    if order.kind == "backfill":
        with temporary_server.beside():
            from flows.runs.backfill import backfill

        backfill(order.workspace, options.corpus, order.dump, None, *own)
        return
    if options.features.weights is None:
        hub.require(options.features.backbone)  # before a server starts: it is known at once

    with temporary_server.beside():
        from flows.runs.pipeline import pipeline

    pipeline(workspace=order.workspace, options=options, dump=order.dump)


if __name__ == "__main__":
    main()
