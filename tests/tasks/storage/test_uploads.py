"""Writing behind a computation: nothing is lost, nothing piles up, nothing fails in silence."""

import threading
import time
from collections.abc import Iterable

import pytest

from stego_core.errors import CapacityError, OutageError
from tasks.storage.storage import Storage
from tasks.storage.uploads import AT_ONCE, Uploads


class Store:
    """A store whose writes wait until they are let through; they may fail."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []
        self.written: list[str] = []
        self.failing: dict[str, Exception] = {}

    def write(self, path: str, content: bytes) -> None:
        self.begun.append(path)
        assert self.open.wait(10)
        if path in self.failing:
            raise self.failing[path]
        self.written.append(path)


@pytest.fixture
def store() -> Store:
    return Store()


def upload(store: Store) -> Uploads:
    return Uploads(store)  # type: ignore[arg-type]  # what it needs of a storage


def write_all(store: Store, numbers: Iterable[int]) -> None:
    with upload(store) as uploads:
        for number in numbers:
            uploads.write(str(number), b"")


class TestUploads:
    def test_all_are_written_when_the_block_ends(self, storage: Storage) -> None:
        files = {f"masks/{number}.png": bytes([number]) * number for number in range(20)}
        with Uploads(storage) as uploads:
            for path, content in files.items():
                uploads.write(path, content)
        assert {path: storage.read(path) for path in files} == files

    def test_the_computation_goes_on_while_files_are_written(self, store: Store) -> None:
        with upload(store) as uploads:
            for number in range(AT_ONCE):
                uploads.write(str(number), b"")
            assert store.written == []  # and yet we came here
            store.open.set()
        assert sorted(store.written) == ["0", "1", "2", "3"]

    def test_only_a_few_are_under_way(self, store: Store) -> None:
        """Each one under way holds its bytes in memory."""
        with upload(store) as uploads:
            for number in range(AT_ONCE):
                uploads.write(str(number), b"")
            one_more = threading.Thread(target=uploads.write, args=("late", b""))
            one_more.start()
            time.sleep(0.1)
            assert one_more.is_alive()
            assert "late" not in store.begun
            store.open.set()
            one_more.join(5)
            assert not one_more.is_alive()
        assert "late" in store.written

    def test_a_failure_ends_the_block(self, store: Store) -> None:
        store.failing["2"] = CapacityError("the disk is full")
        store.open.set()
        with pytest.raises(CapacityError, match="the disk is full"):
            write_all(store, range(3))

    def test_a_failure_stops_the_computation_soon(self, store: Store) -> None:
        store.failing["0"] = OutageError("the store is away")
        store.open.set()
        numbers = iter(range(100))
        with pytest.raises(OutageError):
            write_all(store, numbers)
        assert next(numbers) == AT_ONCE + 1

    def test_what_the_computation_raises_comes_first(self, store: Store) -> None:
        store.failing["0"] = OutageError("the store is away")
        store.open.set()

        def work() -> None:
            with upload(store) as uploads:
                uploads.write("0", b"")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()

    def test_no_write_goes_on_after_the_block(self, store: Store) -> None:
        """Or a shard that failed would still be writing while it is tried again."""
        threading.Timer(0.1, store.open.set).start()

        def work() -> None:
            with upload(store) as uploads:
                uploads.write("0", b"")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()
        assert store.written == ["0"]
        assert not [t for t in threading.enumerate() if t.name.startswith("upload")]
