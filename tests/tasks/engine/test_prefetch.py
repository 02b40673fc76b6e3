"""Fetching ahead: in order, never further than asked, and nothing left behind."""

import threading
from collections.abc import Iterator

import pytest

from tasks.engine.prefetch import ahead

PATIENCE = 60
"""Seconds after which a thread that should have come is given up."""


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("ahead")]


class Fetch:
    """Squares; remembers what was begun, and lets a test wait for it."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at
        self.begun: list[int] = []
        self.changed = threading.Condition()

    def __call__(self, item: int) -> int:
        with self.changed:
            self.begun.append(item)
            self.changed.notify_all()
        if item == self.fail_at:
            raise OSError(f"item {item}")
        return item * item

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= count, PATIENCE)


@pytest.mark.parametrize("depth", [1, 2, 5, 40])
def test_every_item_in_order(depth: int) -> None:
    assert list(ahead(range(20), lambda i: i * i, depth)) == [(i, i * i) for i in range(20)]
    assert not threads()


def test_no_items() -> None:
    assert list(ahead([], Fetch(), 3)) == []


@pytest.mark.parametrize("depth", [1, 3])
def test_the_next_ones_are_fetched_while_one_is_used_and_no_more(depth: int) -> None:
    fetch, taken = Fetch(), []

    def items() -> Iterator[int]:
        for item in range(9):
            taken.append(item)
            yield item

    for item, _ in ahead(items(), fetch, depth):
        expected = min(item + 1 + depth, 9)
        fetch.wait_for(expected)
        assert len(fetch.begun) == len(taken) == expected


def test_as_many_threads_as_the_depth() -> None:
    together = threading.Barrier(3)
    fetched = ahead(range(6), lambda _: together.wait(PATIENCE), 3)
    assert len(list(fetched)) == 6


def test_an_error_comes_at_its_item() -> None:
    fetched = ahead(range(9), Fetch(fail_at=2), 4)
    assert [next(fetched), next(fetched)] == [(0, 0), (1, 1)]
    with pytest.raises(OSError, match="item 2"):
        next(fetched)
    assert list(fetched) == []
    assert not threads()


def test_an_error_of_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(ahead(items(), Fetch(), 1))
    assert not threads()


def test_stopping_early_leaves_no_thread() -> None:
    fetch = Fetch()
    for item, _ in ahead(range(1000), fetch, 2):
        if item == 3:
            break
    assert not threads()
    assert len(fetch.begun) <= 6


def test_a_consumer_that_raises_leaves_no_thread() -> None:
    fetch = Fetch()

    def consume() -> None:
        for item, _ in ahead(range(1000), fetch, 2):
            raise KeyError(item)

    with pytest.raises(KeyError):
        consume()
    assert not threads()
    assert len(fetch.begun) <= 3


def test_results_are_not_kept() -> None:
    class Block:
        alive = 0

        def __init__(self, _: int) -> None:
            Block.alive += 1

        def __del__(self) -> None:
            Block.alive -= 1

    most = 0
    for _, block in ahead(range(20), Block, 1):
        most = max(most, Block.alive)
        del block
    assert most <= 2
    assert Block.alive == 0


def test_depth_must_be_positive() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        next(ahead([1], Fetch(), 0))
