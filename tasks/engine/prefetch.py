"""Reading ahead of a computation, with a bounded number of results in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import TypeVar

from tasks.storage.threads import ContextThreadPool

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterable[T], fetch: Callable[[T], R], depth: int) -> Iterator[tuple[T, R]]:
    """Each item with what `fetch` makes of it, in order; the next ones are fetched meanwhile.

    Args:
        items: taken in the caller's thread, at most `depth` further than the item at hand.
        fetch: called in up to `depth` background threads at once.
        depth: results that may be under way or wait beyond the item at hand, at least 1.

    What `fetch` raises is raised when its item's turn comes; later items are not begun.
    """
    source, waiting = iter(items), deque[tuple[T, Future[R]]]()
    pool = ContextThreadPool(depth, thread_name_prefix="ahead")
    try:
        waiting.extend((item, pool.submit(fetch, item)) for item in islice(source, depth))
        while waiting:
            item, future = waiting.popleft()
            result = future.result()
            waiting.extend((later, pool.submit(fetch, later)) for later in islice(source, 1))
            yield item, result
            del item, future, result  # else they would live until the next one has come
    finally:
        # also where the caller stops early: no thread outlives the iterator
        pool.shutdown(wait=True, cancel_futures=True)
