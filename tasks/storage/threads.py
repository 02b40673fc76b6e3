"""Context variables: bound within a block, and seen by the threads that a block starts."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def bound(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Give a context variable a value until the end of the block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


class ContextThreadPool(ThreadPoolExecutor):
    """A pool whose tasks see the context variables of whoever submits them."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in the pool, in a copy of the caller's context."""
        call: Any = copy_context().run
        return super().submit(call, fn, *args, **kwargs)


def context_thread(target: Callable[[], object], name: str) -> Thread:
    """A daemon thread, not yet started, that sees the context variables of the caller."""
    return Thread(target=copy_context().run, args=(target,), name=name, daemon=True)
