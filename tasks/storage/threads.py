"""Threads that work for the run that started them: they use its object store and its caches."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ContextThreadPool(ThreadPoolExecutor):
    """A pool whose tasks see the context variables of whoever submits them."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in the pool, in a copy of the caller's context."""
        call: Any = copy_context().run
        return super().submit(call, fn, *args, **kwargs)


def context_thread(target: Callable[[], object], name: str) -> Thread:
    """A daemon thread, not yet started, that sees the context variables of the caller."""
    return Thread(target=copy_context().run, args=(target,), name=name, daemon=True)
