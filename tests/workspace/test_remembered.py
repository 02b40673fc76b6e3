"""What is remembered of a workspace ends with the run: workers outlive workspaces."""

from uuid import uuid4

import pytest

from tasks.remote import Remote
from tasks.workspace import arrays, remembered, s3
from tasks.workspace.arrays import Layout
from tasks.workspace.storage import Storage


def rows_of(storage: Storage) -> int:
    return int(arrays.open_array(storage, "f/k.zarr", "codes").shape[0])


def made_with(rows: int, place: str) -> Storage:
    """A workspace at a place where there was another one."""
    storage = Storage.at(place)
    for file in storage.files() if storage.exists("") else []:
        storage.remove(file.path)
    arrays.create(storage, "f/k.zarr", {"codes": Layout((rows, 2), "float32", 4)})
    return storage


def test_a_worker_sees_the_workspace_of_its_own_run() -> None:
    place = f"memory://{uuid4().hex}/ws"
    first = Remote(rows_of, s3.Service(), "first")
    assert first(made_with(4, place)) == 4
    storage = made_with(8, place)
    assert first(storage) == 4  # asked for once in a run: nothing of it changes meanwhile
    assert Remote(rows_of, s3.Service(), "second")(storage) == 8


def test_once_per_run_and_arguments() -> None:
    asked: list[tuple[int, str]] = []

    @remembered.remembered(8)
    def ask(number: int, name: str = "") -> int:
        asked.append((number, name))
        return number

    for run in ("one", "two", "one"):
        with remembered.during(run):
            assert (ask(1), ask(1), ask(2, name="b")) == (1, 1, 2)
    assert asked == [(1, ""), (2, "b")] * 2


def test_what_was_raised_is_not_remembered() -> None:
    chances = iter([False, True])

    @remembered.remembered(8)
    def try_once() -> str:
        if next(chances):
            return "there"
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        try_once()
    assert try_once() == "there"
