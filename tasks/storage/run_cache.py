"""Results of reading a workspace, kept while one run lasts, and no longer.

Workers outlive runs. Between two runs a workspace may be removed and made anew at the same place,
with other images under the same dump name.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from tasks.storage.threads import bound

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Run:
    """The run that a thread works for."""

    name: str = ""  # unique; another one as soon as the kept results no longer hold


_run: ContextVar[Run] = ContextVar("run", default=Run())  # noqa: B039  threads without a run share one


def during(run: str) -> AbstractContextManager[None]:
    """Keep results for this run until the block ends, in this thread and those of its pools."""
    return bound(_run, Run(run))


def renew(run: str) -> None:
    """Drop the kept results in all threads of the run, for a workspace that changed."""
    _run.get().name = run


def current_run() -> str:
    """The name of the run that this thread works for."""
    return _run.get().name


_stage = ""
_stage_caches: list[Callable[[], None]] = []
"""Clear results that are kept for one stage only."""


def enter_stage(title: str) -> None:
    """Drop the results that this process kept for another stage only."""
    global _stage
    if title != _stage:
        _stage = title
        for clear in _stage_caches:
            clear()


def remembered(most: int, stage_only: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Call a function once per run and arguments; at most `most` results are kept.

    Large results are to be kept for a stage only: the next one's memory does not count them.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @lru_cache(most)
        def once(run: str, *arguments: P.args, **named: P.kwargs) -> R:
            return function(*arguments, **named)

        if stage_only:
            _stage_caches.append(once.cache_clear)

        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            return once(current_run(), *arguments, **named)  # type: ignore[arg-type]  # hashable ones

        return call

    return decorate
