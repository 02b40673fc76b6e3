"""Flows that stand for long runs in the tests of supervision: they wait, note, and can fail."""

import os
import time
from pathlib import Path

from prefect import flow, get_run_logger, task

from flows.reporting.outage import distinguish_outages
from stego_core.errors import InputError, OutageError


@task
def waiting(folder: str) -> None:
    """Be at work until the file `go` is there."""
    while not (Path(folder) / "go").exists():
        time.sleep(0.1)


@flow(name="features")
def stage(folder: str) -> None:
    """A stage, as a flow inside a run."""
    waiting(folder)


@flow(name="backfill")
def long_run(folder: str) -> None:
    """Note the process in `starts`, be at work, warn, note it in `ends`."""
    note(folder, "starts")
    stage(folder)
    get_run_logger().warning("a line for a worker that may be gone")
    note(folder, "ends")


@flow(name="pipeline")
@distinguish_outages
def failing(folder: str, mistake: bool) -> None:
    """Fail twice: for an outage, or for a mistake of the user's."""
    note(folder, "starts")
    if len((Path(folder) / "starts").read_text().split()) < 3:
        raise InputError("no such image") if mistake else OutageError("the store is away")
    note(folder, "ends")


def note(folder: str, name: str) -> None:
    with (Path(folder) / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
