"""What a process remembers of a workspace while one run lasts, and no longer.

Workers outlive runs. Between two runs a workspace may be removed and made anew at the same place,
with other images under the same dump name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_run = ""


@contextmanager
def during(run: str) -> Iterator[None]:
    """Remember for this run until the end of the block, in the whole process."""
    global _run
    before, _run = _run, run
    try:
        yield
    finally:
        _run = before


def renew(run: str) -> None:
    """Go on as another run: a server does where the workspace it shows has changed."""
    global _run
    _run = run


def current() -> str:
    """The run under way, for workers."""
    return _run


def remembered(most: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Call a function once per run and arguments; at most so many results are kept."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @lru_cache(most)
        def once(run: str, *arguments: P.args, **named: P.kwargs) -> R:
            return function(*arguments, **named)

        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            return once(_run, *arguments, **named)  # type: ignore[arg-type]  # hashable ones

        return call

    return decorate
